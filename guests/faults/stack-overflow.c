/* Recurses until the stack reaches its guard page. */
#include "applet.h"

static uint64_t deeper(uint64_t depth) {
  volatile char frame[512]; /* smaller than the guard page, so that a frame cannot skip it */
  frame[0] = (char)depth;
  return depth == UINT64_MAX ? 0 : deeper(depth + 1) + (uint64_t)frame[0];
}

int main(void) {
  print("stack-overflow: calling without end\n");
  panic("came back with %lu", deeper(0));
}

/* Calls itself until the stack meets its guard page. */
#include "applet.h"

static uint64_t deeper(uint64_t depth) {
  volatile char frame[512]; /* smaller than the guard page, or a frame could step over it */
  frame[0] = (char)depth;
  return depth == UINT64_MAX ? 0 : deeper(depth + 1) + (uint64_t)frame[0];
}

int main(void) {
  print("stack-overflow: calling without end\n");
  panic("came back with %lu", deeper(0));
}

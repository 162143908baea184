/* Calls a null pointer. */
#include "probe.h"

int main(void) {
  print("null-call: jumping to 0\n");
  jump(0);
  panic("page 0 is executable");
}

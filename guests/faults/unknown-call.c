/* Makes a call that does not exist: 0x7777, or the number in its argument. */
#include "applet.h"

int main(void) {
  uint64_t number = argument_number(1, 0x7777);
  print("unknown-call: calling 0x%lx\n", number);
  panic("it answered %ld", applet_call(number, 0, 0, 0));
}

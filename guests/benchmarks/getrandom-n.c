/* Gets random bytes: the first argument is the number of calls (1000), the second the number of bytes in each (16). */
#include "applet.h"

static unsigned char bytes[65536];

int main(void) {
  uint64_t rest = argument_number(1, 1000);
  uint64_t length = argument_number(2, 16);
  if (length > sizeof bytes) {
    panic("at most %lu bytes", sizeof bytes);
  }
  for (; rest > 0; rest--) {
    applet_getrandom(bytes, length);
  }
  return 0;
}

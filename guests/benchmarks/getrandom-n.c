/* Fetches random bytes as many times as its first argument says (1000), as many as its second says (16). */
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

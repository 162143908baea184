/* Gets 4 KiB of random bytes that straddle pages, and checks them and the bytes around them. */
#include "applet.h"

#define LENGTH 4096
static unsigned char memory[LENGTH + 2];

int main(void) {
  unsigned char *bytes = memory + 1;
  memory[0] = memory[LENGTH + 1] = 0x5a;
  applet_getrandom(bytes, LENGTH);
  if (memory[0] != 0x5a || memory[LENGTH + 1] != 0x5a) {
    panic("wrote outside the buffer");
  }
  int different = 0;
  unsigned char seen[256] = {0};
  for (size_t i = 0; i < LENGTH; i++) {
    different += !seen[bytes[i]];
    seen[bytes[i]] = 1;
  }
  if (different < 240) { /* fewer than 240 of 256 once in 10^50 times */
    panic("only %d different values", different);
  }
  applet_getrandom(bytes, 0);
  print("getrandom: 4096 bytes, many values\n");
  return 0;
}

/* Does as many steps of integer work as its argument says (1000000), without a call. */
#include "applet.h"

int main(void) {
  uint64_t value = 1;
  for (uint64_t rest = argument_number(1, 1000000); rest > 0; rest--) {
    value = value * 6364136223846793005u + 1442695040888963407u;
    __asm__ volatile("" : "+r"(value)); /* or the compiler would find a shortcut */
  }
  return 0;
}

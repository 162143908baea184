/* Computes as many steps of integer arithmetic as its argument says (1000000), without a call. */
#include "applet.h"

int main(void) {
  uint64_t value = 1;
  for (uint64_t rest = argument_number(1, 1000000); rest > 0; rest--) {
    value = value * 6364136223846793005u + 1442695040888963407u;
    __asm__ volatile("" : "+r"(value)); /* so that the compiler does not simplify the loop */
  }
  return 0;
}

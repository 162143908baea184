/* Counts in memory at the address that call 0x500 returns, forever and without another call. */
#include "applet.h"

int main(void) {
  volatile uint64_t *at = (volatile uint64_t *)applet_call(0x500, 0, 0, 0);
  for (;;) {
    ++*at;
  }
}

/* Waits for an interrupt in a loop; none ever arrives. A monitor may end it (arm64 traps the instruction) or let it wait until
 * it is stopped. */
#include "applet.h"

int main(void) {
  print("wfi: waiting\n");
  for (;;) {
    __asm__ volatile("wfi");
  }
}

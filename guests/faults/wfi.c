/* Waits for an interrupt, again and again; none ever comes. A monitor may end it (arm64 traps the instruction) or let
 * it sleep until it is stopped. */
#include "applet.h"

int main(void) {
  print("wfi: waiting\n");
  for (;;) {
    __asm__ volatile("wfi");
  }
}

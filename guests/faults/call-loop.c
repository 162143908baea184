/* Asks for the time for ever. */
#include "applet.h"

int main(void) {
  print("call-loop: calling\n");
  for (;;) {
    applet_nanotime();
  }
}

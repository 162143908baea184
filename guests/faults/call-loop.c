/* Gets the time in an endless loop. */
#include "applet.h"

int main(void) {
  print("call-loop: calling\n");
  for (;;) {
    applet_nanotime();
  }
}

/* Sleeps forever. */
#include "applet.h"

int main(void) {
  print("sleep-call: sleeping\n");
  for (;;) {
    applet_sleep(3600ull * 1000 * 1000 * 1000);
  }
}

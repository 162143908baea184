/* Yields a hundred times. */
#include "applet.h"

int main(void) {
  for (int i = 0; i < 100; i++) {
    int64_t result = applet_yield();
    if (result != 0) {
      panic("yield answered %ld", result);
    }
  }
  print("yield: came back each time\n");
  return 0;
}

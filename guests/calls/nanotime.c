/* Asks for the time a hundred times: it never goes back, and it goes on. */
#include "applet.h"

int main(void) {
  int64_t first = applet_nanotime();
  int64_t last = first;
  for (int i = 0; i < 100; i++) {
    int64_t now = applet_nanotime();
    if (now < last) {
      panic("%ld ns after %ld ns", now, last);
    }
    last = now;
  }
  if (first <= 0 || last == first) {
    panic("time stands still at %ld ns", first);
  }
  print("nanotime: later each time\n");
  return 0;
}

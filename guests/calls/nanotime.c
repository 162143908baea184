/* Gets the time of day a hundred times: it never decreases, it increases overall, and the clock without a call and the device tree
 * say the same. With the argument "print" it prints the seconds since 1970. */
#include "applet.h"

int main(const void *tree) {
  struct arguments arguments;
  arguments_load(&arguments);
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
  int64_t before = applet_nanotime();
  int64_t now = time_of_day(tree);
  int64_t after = applet_nanotime();
    /* As in counter.c. */
  if (now < before - 1000000 || now > after + 1000000) {
    panic("%ld ns, and the monitor says %ld ns to %ld ns", now, before, after);
  }
  if (text_after(argument(&arguments, 1), "print") != NULL) {
    print("nanotime: %ld\n", now / 1000000000);
  }
  print("nanotime: later each time\n");
  return 0;
}

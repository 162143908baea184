/* Requests the counter and compares its time with the monitor's; prints a line if the counter may not be read. With the argument
 * "yield" it yields once between the two. */
#include "applet.h"

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  int64_t first = nanotime();
  if (text_after(argument(&arguments, 1), "yield") != NULL) {
    applet_yield();
  }
  int64_t last = first;
  for (int i = 0; i < 1000; i++) {
    int64_t now = nanotime();
    if (now < last) {
      panic("%ld ns after %ld ns", now, last);
    }
    last = now;
  }
  int64_t before = applet_monotonic();
  int64_t now = nanotime();
  int64_t after = applet_monotonic();
    /* The clocks differ by the slewing of the host's: a millisecond in this short time is far more than that. */
  if (now < before - 1000000 || now > after + 1000000) {
    panic("%ld ns, and the monitor says %ld ns to %ld ns", now, before, after);
  }
  if (last == first) {
    panic("time stands still at %ld ns", first);
  }
  print("counter: %s\n", applet_counter() != 0 ? "read without a call" : "kept from it");
  return 0;
}

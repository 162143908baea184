/* Sleeps for as many milliseconds as its argument says (10). */
#include "applet.h"

int main(void) {
  uint64_t milliseconds = argument_number(1, 10);
  int64_t before = applet_monotonic();
  int64_t result = applet_sleep(milliseconds * 1000 * 1000);
  int64_t passed = applet_monotonic() - before;
  if (result != 0) {
    panic("sleep answered %ld", result);
  }
  if (passed < (int64_t)milliseconds * 1000 * 1000) {
    panic("came back after %ld ns", passed);
  }
  print("sleep: %lu ms have passed\n", milliseconds);
  return 0;
}

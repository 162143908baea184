/* GoTEE's example, the main operating system: yields to the monitor, which runs the trusted applet (mississippi), until the
 * applet has ended. */
#include "firmware.h"

int main(void) {
  print("system-mississippi: yielding to the monitor\n");
  uint64_t turns = 0;
  int64_t result;
  while ((result = applet_yield()) == 0) {
    turns++;
  }
  if (turns < 2) {
    panic("the applet has had %lu turns", turns);
  }
  print("system-mississippi: back from many turns of the applet, which has ended (%ld)\n", (long)result);
  return 0;
}

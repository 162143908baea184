/* Writes as many bytes as its argument says, which it does not have itself: they are in a region at 0x180000000 that the monitor has
 * added. */
#include "applet.h"

int main(void) {
  uint64_t length = argument_number(1, 0);
  return applet_write((const void *)0x180000000, length) == (int64_t)length ? 0 : 1;
}

/* The time of day without a call, where nanotime needs none. */
#include "applet.h"

int64_t time_of_day(const void *tree) {
  size_t length = 0; /* not set without the property */
  const void *offset = tree_property(tree, "/hypervisor", "swiftlet,clock-offset", &length);
  /* A user's tree may lack it. */
  return length == 8 ? nanotime() + (int64_t)tree_cells(offset, length, 0) : applet_nanotime();
}

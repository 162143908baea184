/* Prints the table of its regions. */
#include "applet.h"

int main(void) {
  static const char *const uses[] = {"image", "heap", "stack", "added", "device tree"};
  struct applet_region region;
  uint64_t index = 0;
  int64_t result;
  for (; (result = applet_region(index, &region)) == 0; index++) {
    print("%lu: 0x%08lx-0x%08lx %c%c%c %s\n", index, region.start, region.start + region.length,
          region.access & APPLET_REGION_READ ? 'r' : '-', region.access & APPLET_REGION_WRITE ? 'w' : '-',
          region.access & APPLET_REGION_EXECUTE ? 'x' : '-',
          region.use < sizeof uses / sizeof uses[0] ? uses[region.use] : "unknown");
  }
  if (result != -2) { /* ENOENT */
    panic("region %lu answered %ld", index, result);
  }
  return 0;
}

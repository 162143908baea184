/* Writes to as many MiB of its heap as its argument says (1), and to as many more for each byte of its input. */
#include "applet.h"

int main(void) {
  struct applet_region heap = region_of_use(APPLET_USE_HEAP);
  uint64_t step = argument_number(1, 1) << 20, touched = 0;
  char byte;
  do {
    for (uint64_t end = touched + step; touched < end; touched += 4096) {
      if (touched >= heap.length) {
        panic("the heap has %lu bytes", heap.length);
      }
      *(volatile char *)(heap.start + touched) = 1;
    }
    print("touch: %lu MiB\n", touched >> 20);
  } while (applet_read(&byte, 1) == 1);
  return 0;
}

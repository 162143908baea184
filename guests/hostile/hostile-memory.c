/* Writes at random to all memory that it may write, including its stack and data, with calls in between (arguments: seed, number
 * of writes). It nearly always crashes before it is done. */
#include "hostile.h"

int main(void) {
  uint64_t state = argument_number(1, 1) * 0x9e3779b97f4a7c15ull + 1, count = argument_number(2, 100000);
  uint64_t starts[8], lengths[8], regions = 0;
  struct applet_region region;
  for (uint64_t index = 0; regions < 8 && applet_region(index, &region) == 0; index++) {
    if (region.access & APPLET_REGION_WRITE) {
      starts[regions] = region.start;
      lengths[regions++] = region.length;
    }
  }
  print("writes: %lu\n", count);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t which = next(&state) % regions;
    *(volatile uint64_t *)(starts[which] + (next(&state) % (lengths[which] / 8)) * 8) = odd(&state);
    if (i % 64 == 0) {
      applet_yield();
    }
  }
  return 0;
}

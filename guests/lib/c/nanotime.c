/* Time from the architectural counter, without a call; or from a call if the applet has no access to the counter. */
#include "applet.h"

static inline uint64_t read_counter(void) {
  uint64_t count;
#if defined(__aarch64__)
    /* The barrier prevents an early read (DDI 0487, D12.2.2). */
  __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(count)::"memory");
#else
  __asm__ volatile("rdtime %0" : "=r"(count)::"memory");
#endif
  return count;
}

/* Nanoseconds per tick, times 2^32; 0 before the first use, and if the counter may not be read. */
static uint64_t scale;
static uint64_t first_count;
static int64_t first_time;
static int is_asked;

static void begin(void) {
  is_asked = 1;
  uint64_t frequency = (uint64_t)applet_counter();
    /* With a higher frequency the scale would lose precision: no such counter exists. */
  if (frequency == 0 || frequency > 1000000000ull << 8) {
    return;
  }
    /* The accuracy is the time between the two reads of the counter around the call. If the applet is preempted between them, it
     * tries again, a few times. */
  uint64_t closest = UINT64_MAX;
  for (int i = 0; i < 8 && closest > frequency / 10000; i++) {
    uint64_t before = read_counter();
    int64_t time = applet_monotonic();
    uint64_t distance = read_counter() - before;
    if (distance < closest) {
      closest = distance;
      first_count = before + distance / 2;
      first_time = time;
    }
  }
  scale = (1000000000ull << 32) / frequency;
}

int64_t nanotime(void) {
  if (!is_asked) {
    begin();
  }
  if (scale == 0) {
    return applet_monotonic();
  }
  return first_time + (int64_t)((unsigned __int128)(read_counter() - first_count) * scale >> 32);
}

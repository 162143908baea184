/* riscv64: reads the time from a CLINT's mtime, as GoTEE's applets do: by lr.d, and by loads of eight and of four bytes. */
#include "applet.h"

#if defined(__riscv)
enum { MTIME = 0x0200bff8 };

static uint64_t reserved(void) {
  uint64_t value;
  __asm__ volatile("lr.d %0, (%1)" : "=r"(value) : "r"(MTIME));
  return value;
}

static uint64_t loaded(void) { return *(volatile uint64_t *)MTIME; }

static uint64_t halves(void) {
  volatile uint32_t *half = (volatile uint32_t *)MTIME;
  uint64_t high = half[1];
  return high << 32 | half[0];
}

int main(void) {
  uint64_t (*const ways[])(void) = {reserved, loaded, halves};
  uint64_t last = 0;
  int64_t start = applet_nanotime();
  uint64_t first = loaded();
  for (int i = 0; i < 30; i++) {
    uint64_t now = ways[i % 3]();
    if (now < last) {
      panic("%lu after %lu", now, last);
    }
    last = now;
  }
  while (loaded() < first + 5000) {
  }
  /* It cannot have counted more than time has passed. */
  last = loaded();
  int64_t passed = applet_nanotime() - start;
  if ((int64_t)(last - first) * 1000 > passed) {
    panic("%lu microseconds in %ld nanoseconds", last - first, passed);
  }
  print("mtime: counts microseconds\n");
  return 0;
}
#else
int main(void) { panic("mtime: riscv64 only"); }
#endif

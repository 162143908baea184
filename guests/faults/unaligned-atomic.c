/* Makes an exclusive load from a word that straddles a 16-byte boundary, which no version of the architectures allows. */
#include "applet.h"

int main(void) {
  uint64_t words[4] __attribute__((aligned(16))) = {0};
  uint64_t old = (uintptr_t)words + 13;
  print("unaligned-atomic: loading for exclusive use from %p\n", (void *)old);
#if defined(__aarch64__)
  __asm__ volatile("ldxr %0, [%0]" : "+r"(old) : : "memory");
#elif defined(__riscv)
  __asm__ volatile("lr.d %0, (%0)" : "+r"(old) : : "memory");
#endif
  panic("it was allowed: %lx", old);
}

/* Divides by zero, which neither architecture traps: arm64 defines the quotient 0, riscv64 all ones. */
#include "applet.h"

int main(void) {
  uint64_t quotient;
#if defined(__aarch64__)
  __asm__ volatile("udiv %0, %1, %2" : "=r"(quotient) : "r"((uint64_t)7), "r"((uint64_t)0));
#elif defined(__riscv)
  __asm__ volatile("divu %0, %1, %2" : "=r"(quotient) : "r"((uint64_t)7), "r"((uint64_t)0));
#endif
  print("divide-by-zero: 7 / 0 = %lu\n", quotient);
  return 0;
}

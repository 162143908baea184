/* Makes as many calls as its argument says (1000), with nothing else in the loop. The call is for a region that does not exist,
 * and therefore does nothing but return. */
#include "applet.h"

int main(void) {
  uint64_t rest = argument_number(1, 1000);
  if (rest == 0) {
    return 0;
  }
#if defined(__aarch64__)
  __asm__ volatile(
      "1: mov x0, %1\n"
      "mov x1, #-1\n"
      "svc #0\n"
      "subs %0, %0, #1\n"
      "b.ne 1b"
      : "+r"(rest)
      : "i"(APPLET_CALL_REGION)
      : "x0", "x1", "cc", "memory");
#elif defined(__riscv)
  __asm__ volatile(
      "1: li a0, %1\n"
      "li a1, -1\n"
      "ecall\n"
      "addi %0, %0, -1\n"
      "bnez %0, 1b"
      : "+r"(rest)
      : "i"(APPLET_CALL_REGION)
      : "a0", "a1", "memory");
#endif
  return 0;
}

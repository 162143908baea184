/* Makes as many calls as its argument says (1000) from system mode, with nothing else in the loop. The call is for a region that
 * does not exist, and therefore does nothing but return. On arm64 by block, or, with the argument "registers", by registers. */
#include "applet.h"

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  uint64_t rest = argument(&arguments, 1) ? number_from(argument(&arguments, 1)) : 1000;
  if (rest == 0) {
    return 0;
  }
#if defined(__aarch64__)
  static struct applet_block block __attribute__((aligned(32)));
  if (argument(&arguments, 2) == NULL && applet_call(APPLET_CALL_BLOCK, (uint64_t)&block, 0, 0) != 0) {
    panic("the block is refused");
  }
  if (argument(&arguments, 2) == NULL) {
    block.arguments[0] = -1ul;
    __asm__ volatile(
        "1: mov x1, %2\n"
        "str x1, %1\n"
        "mov x0, %3\n"
        ".inst 0xd4000002\n" /* hvc #0 */
        "ldr x0, %1\n"
        "subs %0, %0, #1\n"
        "b.ne 1b"
        : "+r"(rest), "+Q"(block.number)
        : "i"(APPLET_CALL_REGION), "i"(APPLET_CALL_BY_BLOCK)
        : "x0", "x1", "cc", "memory");
    return block.number == -2ul ? 0 : 1;
  }
  __asm__ volatile(
      "1: mov x0, %1\n"
      "mov x1, #-1\n"
      ".inst 0xd4000002\n"
      "subs %0, %0, #1\n"
      "b.ne 1b"
      : "+r"(rest)
      : "i"(APPLET_CALL_REGION)
      : "x0", "x1", "cc", "memory");
#elif defined(__riscv)
  __asm__ volatile(
      "li a6, %1\n"
      "li a7, %2\n"
      "1: li a0, -1\n"
      "ecall\n"
      "addi %0, %0, -1\n"
      "bnez %0, 1b"
      : "+r"(rest)
      : "i"(APPLET_CALL_REGION), "i"(APPLET_SBI_EXTENSION)
      : "a0", "a1", "a6", "a7", "memory");
#endif
  return 0;
}

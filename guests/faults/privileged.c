/* Reads a register of system mode: SCTLR_EL1, sstatus. With the argument write, writes one: VBAR_EL1, stvec. */
#include "applet.h"

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  uint64_t value = 0;
  if (text_after(argument(&arguments, 1), "write") != NULL) {
    print("privileged: writing a register of the level above\n");
#if defined(__aarch64__)
    __asm__ volatile("msr vbar_el1, %0" : : "r"(value));
#elif defined(__riscv)
    __asm__ volatile("csrw stvec, %0" : : "r"(value));
#endif
  } else {
    print("privileged: reading a register of the level above\n");
#if defined(__aarch64__)
    __asm__ volatile("mrs %0, sctlr_el1" : "=r"(value));
#elif defined(__riscv)
    __asm__ volatile("csrr %0, sstatus" : "=r"(value));
#endif
  }
  panic("it is open: %lx", value);
}

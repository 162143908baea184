/* Executes a breakpoint instruction. */
#include "applet.h"

int main(void) {
  print("breakpoint: executing one\n");
#if defined(__aarch64__)
  __asm__ volatile("brk #0");
#elif defined(__riscv)
  __asm__ volatile("ebreak");
#endif
  panic("the breakpoint had no effect");
}

/* Executes the instruction that each architecture defines as permanently undefined. */
#include "applet.h"

int main(void) {
  print("undefined: executing an undefined instruction\n");
#if defined(__aarch64__)
  __asm__ volatile("udf #0");
#elif defined(__riscv)
  __asm__ volatile("unimp");
#endif
  panic("it did something");
}

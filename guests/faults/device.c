/* Reads the address of the console in QEMU's virt machine, as a program written for that machine would. */
#include "probe.h"

#if defined(__aarch64__)
#define CONSOLE 0x09000000
#elif defined(__riscv)
#define CONSOLE 0x10000000
#endif

int main(void) {
  print("device: reading %p\n", (void *)CONSOLE);
  load(CONSOLE);
  panic("there is a device");
}

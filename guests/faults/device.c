/* Reads where QEMU's virt machine has its console, as a bare-metal program would. */
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

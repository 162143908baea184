/* Jumps to an address without memory: near the end of what the page tables can map, or the address in its argument. */
#include "probe.h"

int main(void) {
  uint64_t address = argument_number(1, 0x3ffffff000);
  print("fetch-nowhere: jumping to %p\n", (void *)address);
  jump(address);
  panic("there is code");
}

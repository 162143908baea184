/* Reads far outside its memory: 1 GiB past its end, or at the address in its argument. */
#include "probe.h"

int main(void) {
  uint64_t address = argument_number(1, memory_end() + (1 << 30));
  print("past-memory: reading %p\n", (void *)address);
  load(address);
  panic("there is memory");
}

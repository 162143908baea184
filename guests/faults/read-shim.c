/* Accesses the page after its memory, which has the monitor's shim: reads it, or with an argument writes to it or
 * jumps there. */
#include "probe.h"

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  const char *how = argument(&arguments, 1);
  uint64_t address = memory_end();
  if (text_after(how, "write") != NULL) {
    print("read-shim: writing to %p\n", (void *)address);
    store(address, 0);
  } else if (text_after(how, "jump") != NULL) {
    print("read-shim: jumping to %p\n", (void *)address);
    jump(address);
  } else {
    print("read-shim: reading %p\n", (void *)address);
    load(address);
  }
  panic("the monitor's memory is open");
}

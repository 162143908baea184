/* Writes to its own text, or with "tree" to its device tree. */
#include "probe.h"

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  uintptr_t address = argument(&arguments, 1) ? (uintptr_t)tree : (uintptr_t)main & ~(uintptr_t)7;
  print("write-text: writing to %p\n", (void *)address);
  store(address, 0);
  panic("it is writable");
}

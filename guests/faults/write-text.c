/* Writes to its own text. */
#include "probe.h"

int main(void) {
  print("write-text: writing to %p\n", (void *)(uintptr_t)main);
  store((uintptr_t)main & ~(uintptr_t)7, 0);
  panic("text is writable");
}

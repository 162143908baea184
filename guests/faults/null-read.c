/* Reads through a null pointer. */
#include "probe.h"

int main(void) {
  print("null-read: reading 0\n");
  load(0);
  panic("page 0 is readable");
}

/* Jumps to an instruction in its data. */
#include "probe.h"

static volatile uint32_t code = RETURN_INSTRUCTION;

int main(void) {
  print("execute-data: jumping to %p\n", (void *)&code);
  jump((uintptr_t)&code);
  panic("data is executable");
}

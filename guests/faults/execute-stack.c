/* Jumps to an instruction on its stack. */
#include "probe.h"

int main(void) {
  volatile uint32_t code = RETURN_INSTRUCTION;
  print("execute-stack: jumping to %p\n", (void *)&code);
  jump((uintptr_t)&code);
  panic("the stack is executable");
}

/* The floor under a start's time: one VM, one call, the end. What is timed is the process, from outside. */
#include "machine.h"

int main(void) {
  struct machine machine = machine_open();
  machine_call(&machine);
  return 0;
}

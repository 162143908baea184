/* Asks for its machine to start anew, by PSCI or SBI. */
#include "firmware.h"

int main(void) {
  print("system-reset: asking for it\n");
  machine_reset();
  panic("nothing happened");
}

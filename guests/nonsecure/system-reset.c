/* Requests a reset through PSCI or SBI. */
#include "firmware.h"

int main(void) {
  print("system-reset: asking for it\n");
  machine_reset();
  panic("nothing happened");
}

/* Turns its machine off, by PSCI or SBI. */
#include "firmware.h"

int main(void) {
  print("system-off: turning off\n");
  machine_off();
  panic("still on");
}

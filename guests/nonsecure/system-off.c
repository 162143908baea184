/* Shuts the system down with PSCI or SBI. */
#include "firmware.h"

int main(void) {
  print("system-off: turning off\n");
  machine_off();
  panic("still on");
}

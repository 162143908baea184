/* Exits with the status in its argument (42). */
#include "applet.h"

int main(void) {
  uint64_t status = argument_number(1, 42);
  print("exit-status: %lu\n", status);
  return (int)status;
}

/* Switches a heater by the temperature. The program in ../embed runs this applet, and answers its two calls of its own. */
#include "applet.h"

/* () -> temperature in hundredths of a degree Celsius. */
#define CALL_TEMPERATURE 0x200
/* (1 or 0) -> 0: switches the heater on or off. */
#define CALL_HEATER 0x201

int main(void) {
  for (int round = 0; round < 5; round++) {
    int64_t temperature = applet_call(CALL_TEMPERATURE, 0, 0, 0);
    applet_call(CALL_HEATER, temperature < 2000, 0, 0);
    applet_sleep(1000000);
  }
  return 0;
}

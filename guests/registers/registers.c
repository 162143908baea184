/* Loads known values into all registers, makes a call, and compares the registers: only the result may have changed. It repeats
 * this with other values and other calls. */
#include "registers.h"

static struct registers before, after;
static unsigned char buffer[64];

/* Any sequence without repetition would do; this one is xorshift's. */
static uint64_t next_value(void) {
  static uint64_t value = 88172645463325252u;
  value ^= value << 13;
  value ^= value >> 7;
  value ^= value << 17;
  return value;
}

static void compare(const char *kind, const uint64_t *expected, const uint64_t *found, size_t first, size_t count,
                    uint64_t except) {
  for (size_t i = first; i < count; i++) {
    if (i != except && expected[i] != found[i]) {
      panic("%s %lu was 0x%lx before the call and 0x%lx after it", kind, i, expected[i], found[i]);
    }
  }
}

int main(void) {
  static const struct {
    uint64_t number, a, b;
  } calls[] = {
      {APPLET_CALL_NANOTIME, 0, 0},
      {APPLET_CALL_GETRANDOM, (uint64_t)buffer, sizeof buffer},
      {APPLET_CALL_YIELD, 0, 0},
      {APPLET_CALL_REGION, 0, (uint64_t)buffer},
      {APPLET_CALL_ARGUMENTS, (uint64_t)buffer, sizeof buffer},
  };
  const uint64_t rounds = argument_number(1, 1000);
    // Number of rounds with varying values of the floating-point control and status registers.
  const uint64_t controls = argument_number(2, rounds);
  print("registers: %lu rounds\n", rounds);
  for (uint64_t round = 0; round < rounds; round++) {
    for (size_t i = 0; i < GENERAL_COUNT; i++) {
      before.general[i] = next_value();
    }
    for (size_t i = 0; i < FLOATING_WORDS; i++) {
      before.floating[i] = next_value();
    }
    before.floating_control = FLOATING_CONTROL(round < controls ? round : 0);
    before.floating_status = FLOATING_STATUS(round < controls ? round : 0);
    before.general[CALL_REGISTER] = calls[round % 5].number;
    before.general[CALL_REGISTER + 1] = calls[round % 5].a;
    before.general[CALL_REGISTER + 2] = calls[round % 5].b;
    registers_round(&before, &after);
    compare("general register", before.general, after.general, FIRST_REGISTER, GENERAL_COUNT, CALL_REGISTER);
    compare("word of floating-point registers", before.floating, after.floating, 0, FLOATING_WORDS, UINT64_MAX);
    compare("floating-point control", &before.floating_control, &after.floating_control, 0, 1, UINT64_MAX);
    compare("floating-point status", &before.floating_status, &after.floating_status, 0, 1, UINT64_MAX);
  }
  print("registers: all kept\n");
  return 0;
}

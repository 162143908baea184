/* The roundings of doubles that Swift's library calls where the processor has no instruction for them (riscv64). */
#include "applet.h"

/* From here on a double has no fraction. */
#define WHOLE 0x1p52

double trunc(double value) {
  if (!(__builtin_fabs(value) < WHOLE)) {
    return value;
  }
  return __builtin_copysign((double)(int64_t)value, value);
}

double ceil(double value) {
  double whole = trunc(value);
  return whole < value ? whole + 1 : whole;
}

double floor(double value) {
  double whole = trunc(value);
  return whole > value ? whole - 1 : whole;
}

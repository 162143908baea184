/* Functions of math.h that Swift's library calls where the CPU has no instruction for them. All are exact. */
#include "applet.h"

/* From this value on, a double has no fraction. */
#define WHOLE 0x1p52

double trunc(double value) {
  if (!(__builtin_fabs(value) < WHOLE)) {
    return value;
  }
  return __builtin_copysign((double)(int64_t)value, value);
}

double ceil(double value) {
  double whole = trunc(value);
  return __builtin_copysign(whole < value ? whole + 1 : whole, value);
}

double floor(double value) {
  double whole = trunc(value);
  return __builtin_copysign(whole > value ? whole - 1 : whole, value);
}

/* Halves away from zero. */
double round(double value) {
  double whole = trunc(value);
  return __builtin_fabs(value - whole) < 0.5 || !(__builtin_fabs(value) < WHOLE) ? whole : whole + __builtin_copysign(1, value);
}

/* Halves to even: what rounding to nearest does with a sum that has no fraction. */
double rint(double value) {
  volatile double sum = __builtin_fabs(value) + WHOLE;
  return __builtin_fabs(value) < WHOLE ? __builtin_copysign(sum - WHOLE, value) : value;
}

double roundeven(double value) {
  return rint(value);
}

double sqrt(double value) {
#if defined(__aarch64__)
  __asm__("fsqrt %d0, %d1" : "=w"(value) : "w"(value));
#else
  __asm__("fsqrt.d %0, %1" : "=f"(value) : "f"(value));
#endif
  return value;
}

float sqrtf(float value) {
#if defined(__aarch64__)
  __asm__("fsqrt %s0, %s1" : "=w"(value) : "w"(value));
#else
  __asm__("fsqrt.s %0, %1" : "=f"(value) : "f"(value));
#endif
  return value;
}

static uint64_t bits_of(double value) {
  return ((union { double value; uint64_t bits; }){value}).bits;
}

/* The significand as an integer below 2^53, and the power of two that it is multiplied with. */
static uint64_t significand_of(double value, int *exponent) {
  uint64_t bits = bits_of(value), fraction = bits & 0xfffffffffffff;
  *exponent = (int)(bits >> 52 & 0x7ff);
  if (*exponent == 0) {
    *exponent = 1;
    return fraction;
  }
  return fraction | (uint64_t)1 << 52;
}

/* A significand of at most 53 bits times 2^(exponent - 1075), which is a double. */
static double number_of(uint64_t significand, int exponent) {
  while (significand >> 52 == 0 && exponent > 1) {
    significand <<= 1;
    exponent--;
  }
  uint64_t bits = significand >> 52 == 0 ? significand : (uint64_t)(exponent - 1) << 52;
  bits += significand >> 52 == 0 ? 0 : significand;
  return ((union { uint64_t bits; double value; }){bits}).value;
}

double fmod(double value, double divisor) {
  double size = __builtin_fabs(value), by = __builtin_fabs(divisor);
  if (!(size < __builtin_inf()) || !(by > 0)) { /* infinite, not a number, by zero */
    return __builtin_nan("");
  }
  if (size < by) {
    return value;
  }
  int exponent, least;
  uint64_t rest = significand_of(size, &exponent), step = significand_of(by, &least);
  for (rest %= step; exponent > least && rest != 0; exponent--) {
    rest = rest * 2 % step;
  }
  return __builtin_copysign(number_of(rest, least), value);
}

/* value - n * divisor, n the integer nearest to the quotient, the even one of two. */
double remainder(double value, double divisor) {
  double by = __builtin_fabs(divisor);
  double rest = by <= 0x1.fffffffffffffp1022 ? fmod(value, by + by) : value;
  if (!(__builtin_fabs(value) < __builtin_inf()) || !(by > 0)) {
    return __builtin_nan("");
  }
  if (!(by < __builtin_inf())) {
    return value;
  }
  double size = __builtin_fabs(rest);
  /* Twice a value that may be tiny, half of one that may be huge. */
  int is_tiny = by < 0x1p-1021;
  if (is_tiny ? size + size > by : size > 0.5 * by) {
    size -= by;
    if (is_tiny ? size + size >= by : size >= 0.5 * by) {
      size -= by;
    }
  }
  return __builtin_signbit(value) ? -size : size;
}

#define FLOAT(name) \
  float name##f(float value) { return (float)name(value); }
FLOAT(trunc)
FLOAT(ceil)
FLOAT(floor)
FLOAT(round)
FLOAT(rint)
FLOAT(roundeven)

float fmodf(float value, float divisor) {
  return (float)fmod(value, divisor);
}

float remainderf(float value, float divisor) {
  return (float)remainder(value, divisor);
}

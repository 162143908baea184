/* Random numbers for hostile guests: the same seed gives the same guest. */
#ifndef HOSTILE_H
#define HOSTILE_H

#include "applet.h"

static inline uint64_t next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* A number that is likely to expose a wrong check: small, near a bound of memory or of integers, or any. */
static inline uint64_t odd(uint64_t *state) {
  static const uint64_t bounds[] = {0,          0x1000,     0x80000000, 0x80001000, 0x81000000, 0x81001000, 0x81002000,
                                    1ull << 32, 1ull << 38, 1ull << 39, 1ull << 47, 1ull << 63, ~0ull};
  uint64_t kind = next(state), small = next(state) % 32;
  switch (kind & 3) {
    case 0: return small;
    case 1: return bounds[(kind >> 2) % (sizeof bounds / sizeof bounds[0])] + small - 16;
    case 2: return bounds[(kind >> 2) % (sizeof bounds / sizeof bounds[0])] + next(state) % 0x200000;
    default: return next(state);
  }
}

#endif

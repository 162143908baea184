/* The requests that the applet trusted.c serves; nonsecure/system-ask.c makes them. */
#ifndef TRUSTED_H
#define TRUSTED_H

#include "applet.h"

enum {
  TRUSTED_ADD,     /* adds the argument to a sum; returns the sum */
  TRUSTED_SEAL,    /* returns the argument mixed with a secret number; applied twice, the argument itself */
  TRUSTED_REVERSE, /* reverses so many bytes of the shared memory; returns their number */
  TRUSTED_SLEEP,   /* sleeps for so many nanoseconds */
  TRUSTED_SPIN,    /* never replies */
  TRUSTED_YIELD,   /* yields so many times before it replies */
  TRUSTED_CRASH,   /* reads that address */
  TRUSTED_EXIT,    /* exits with that status */
};
#define TRUSTED_REFUSED ((uint64_t)-22)

#endif

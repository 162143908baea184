/* What the applet trusted.c does on request, for those who ask (nonsecure/system-ask.c). */
#ifndef TRUSTED_H
#define TRUSTED_H

#include "applet.h"

enum {
  TRUSTED_ADD,     /* adds the argument to a sum; answers the sum */
  TRUSTED_SEAL,    /* answers the argument mixed with a number that nobody else knows; twice, the argument itself */
  TRUSTED_REVERSE, /* reverses as many bytes of the shared memory; answers their number */
  TRUSTED_SLEEP,   /* sleeps for so many nanoseconds */
  TRUSTED_SPIN,    /* never answers */
  TRUSTED_YIELD,   /* yields so often before it answers */
  TRUSTED_CRASH,   /* reads that address */
  TRUSTED_EXIT,    /* ends with that status */
};
#define TRUSTED_REFUSED ((uint64_t)-22)

#endif

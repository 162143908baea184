/* The same in T32 instructions. */
#include "aarch32.c"

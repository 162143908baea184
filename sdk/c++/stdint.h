/* A gcc for bare metal expects a C library's stdint.h in C++, and has one of its own. */
#if __has_include(<stdint-gcc.h>)
#include <stdint-gcc.h>
#else
#include_next <stdint.h>
#endif

// Functions that Debian's static libraries and the Swift library need from glibc, and musl does not have. Empty with
// glibc.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <features.h>

#ifndef __GLIBC__
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

// The seeds of Swift's hash tables.
void arc4random_buf(void *to, size_t count) {
  char *at = to;
  while (count) {
    ssize_t got = getrandom(at, count, 0);
    if (got > 0) {
      at += got;
      count -= (size_t)got;
    } else if (errno != EINTR) {
      abort();  // no kernel that has KVM lacks getrandom
    }
  }
}

// All allocations of Swift. musl's posix_memalign allocates more and frees the excess for any alignment, but its malloc
// aligns to 16 bytes.
int posix_memalign(void **made, size_t alignment, size_t size) {
  void *memory = alignment <= 16 ? malloc(size) : aligned_alloc(alignment, size);
  if (!memory) return ENOMEM;
  *made = memory;
  return 0;
}

// C23's number parsing, and the checked functions of -D_FORTIFY_SOURCE. The size that they check is the third argument;
// the compiler has verified it, or does not know it.
long long __isoc23_strtoll(const char *text, char **end, int base) { return strtoll(text, end, base); }
unsigned long __isoc23_strtoul(const char *text, char **end, int base) { return strtoul(text, end, base); }

int __vsnprintf_chk(char *to, size_t size, int flag, size_t room, const char *format, va_list arguments) {
  (void)flag;
  if (room < size) abort();
  return vsnprintf(to, size, format, arguments);
}

int __snprintf_chk(char *to, size_t size, int flag, size_t room, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int count = __vsnprintf_chk(to, size, flag, room, format, arguments);
  va_end(arguments);
  return count;
}

int __sprintf_chk(char *to, int flag, size_t room, const char *format, ...) {
  (void)flag;
  va_list arguments;
  va_start(arguments, format);
  int count = vsnprintf(to, room, format, arguments);
  va_end(arguments);
  if (count < 0 || (size_t)count >= room) abort();
  return count;
}
#endif

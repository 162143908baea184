/* The functions that compilers call implicitly. They copy words if both ends are aligned, bytes otherwise. Compiled with
 * -fno-builtin; otherwise the compiler would replace each loop by a call of the function that contains it. */
#include "applet.h"

typedef uint64_t __attribute__((may_alias)) word;

static inline int shares_alignment(const void *a, const void *b) {
  return (((uintptr_t)a ^ (uintptr_t)b) & (sizeof(word) - 1)) == 0;
}

static inline int is_aligned(const void *pointer) {
  return ((uintptr_t)pointer & (sizeof(word) - 1)) == 0;
}

void *memcpy(void *restrict to, const void *restrict from, size_t length) {
  return memmove(to, from, length);
}

void *memmove(void *to, const void *from, size_t length) {
  unsigned char *target = to;
  const unsigned char *source = from;
  int words = shares_alignment(to, from);
  if ((uintptr_t)target - (uintptr_t)source >= length) { /* ascending is safe, also for a target below the source */
    for (; length > 0 && !(words && is_aligned(target)); length--) {
      *target++ = *source++;
    }
    for (; length >= sizeof(word); length -= sizeof(word)) {
      *(word *)target = *(const word *)source;
      target += sizeof(word);
      source += sizeof(word);
    }
    for (; length > 0; length--) {
      *target++ = *source++;
    }
  } else {
    target += length;
    source += length;
    for (; length > 0 && !(words && is_aligned(target)); length--) {
      *--target = *--source;
    }
    for (; length >= sizeof(word); length -= sizeof(word)) {
      target -= sizeof(word);
      source -= sizeof(word);
      *(word *)target = *(const word *)source;
    }
    for (; length > 0; length--) {
      *--target = *--source;
    }
  }
  return to;
}

void *memset(void *to, int value, size_t length) {
  unsigned char *target = to;
  word pattern = (unsigned char)value * 0x0101010101010101u;
  for (; length > 0 && !is_aligned(target); length--) {
    *target++ = (unsigned char)value;
  }
  for (; length >= sizeof(word); length -= sizeof(word)) {
    *(word *)target = pattern;
    target += sizeof(word);
  }
  for (; length > 0; length--) {
    *target++ = (unsigned char)value;
  }
  return to;
}

int memcmp(const void *a, const void *b, size_t length) {
  const unsigned char *left = a;
  const unsigned char *right = b;
  for (; length > 0; length--, left++, right++) {
    if (*left != *right) {
      return *left - *right;
    }
  }
  return 0;
}

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length] != 0) {
    length++;
  }
  return length;
}

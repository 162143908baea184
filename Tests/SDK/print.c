/* Every conversion of printf. Compiled for this machine it uses the C library's printf, whose output is what is expected. */
#ifdef HOST
#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <wchar.h>
#define print printf
#else
#include "applet.h"
#endif

#define EACH(flags, width, precision) \
  integers("%" flags width precision), numbers("%" flags width precision)

/* Not constants, so that the compiler converts nothing itself. */
static volatile int small = -77;
static volatile unsigned char byte = 200;
static volatile long long large = -1234567890123456789;
static volatile double values[] = {0.0, -0.0, 1.0, 0.5, 2.5, 3.14159265358979, 1e100, 5e-324, 1.7976931348623157e308, 123456.789, 1e-5};

static void format(char *to, const char *start, const char *end) {
  while (*start != 0) {
    *to++ = *start++;
  }
  while (*end != 0) {
    *to++ = *end++;
  }
  *to++ = '|';
  *to = 0;
}

#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"

static void integers(const char *start) {
  char text[32];
  static const char *const ends[] = {"d", "i", "u", "x", "X", "o"};
  for (int i = 0; i < 6; i++) {
    format(text, start, ends[i]);
    print(text, small);
    print(text, 0);
  }
  static const char *const lengths[] = {"hhd", "hhu", "hhx", "hd", "hu", "ho", "ld", "lx", "lld", "llu", "jd", "zu", "td"};
  for (int i = 0; i < 13; i++) {
    format(text, start, lengths[i]);
    if (i < 6) {
      print(text, small * 1000 + byte);
    } else {
      print(text, large);
    }
  }
  print("\n");
}

static void numbers(const char *start) {
  char text[32];
  static const char *const ends[] = {"f", "F", "e", "E", "g", "G", "a", "A"};
  for (int i = 0; i < 8; i++) {
    for (unsigned j = 0; j < sizeof values / sizeof *values; j++) {
      if (i < 6 || values[j] != 5e-324) { /* how a subnormal number is normalized in hexadecimal is open */
        format(text, start, ends[i]);
        print(text, values[j]);
      }
    }
    format(text, start, ends[i]);
    print(text, 1.0 / values[0]);
    print(text, -1.0 / values[0]);
  }
  print("\n");
}

int main(void) {
#ifdef HOST
  setlocale(LC_ALL, "C.UTF-8");
#endif
  EACH("", "", "");
  EACH("-", "12", "");
  EACH("+", "12", ".3");
  EACH(" ", "", ".0");
  EACH("#", "", "");
  EACH("0", "14", "");
  EACH("+0", "14", ".5");
  EACH("-#", "20", ".10");
  int count = 0;
  long long_count = 0;
  print("[%5s|%-5s|%.2s|%s|%c|%3c|%-3c|%%]\n", "ab", "ab", "abcdef", "", 'x', 'y', 'z');
  print("[%ls|%8.5ls|%lc]\n", L"Gr\u00fc\u00dfe \u4e16", L"\u00fc\u00fc\u00fc", 0x1f469);
  print("[%*d|%-*d|%.*f|%.*s|%*.*f]\n", 6, small, 6, small, 2, values[5], 2, "abcdef", -9, -1, values[4]);
  print("abc%n%20d%ln", &count, small, &long_count);
  print("[%d %ld]\n", count, long_count);
  print("[%p|%20p]\n", (void *)0x1234, (void *)(uintptr_t)0xfedcba9876543210u);
  print("[%Lf|%.3Le|%Lg|%d]\n", 1.5L, 1024.0L, 0.25L, small);
  print("[%.200f|%.1f|%.0f %.0f]\n", 1.0 / 3, 0.25, 0.5, 1.5);
  print("%d %d %d %d %d %d %d %d %f %f %f %f %f %f %f %f %f %d %f\n", 1, 2, 3, 4, 5, 6, 7, 8, 1., 2., 3., 4., 5., 6., 7., 8., 9., 9, 10.);
  return 0;
}

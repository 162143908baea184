/* Writes with calls of several sizes: two lines at once, no bytes, a line in two calls, and in one call as many bytes as its
 * argument says. */
#include "applet.h"

static char many[65536];

static void write(const char *bytes, size_t length) {
  int64_t result = applet_write(bytes, length);
  if (result != (int64_t)length) {
    panic("write of %lu bytes answered %ld", length, result);
  }
}

int main(void) {
  write("write: one line\nwrite: another line\n", 36);
  write("", 0);
  write("write: a line ", 14);
  write("in two calls\n", 13);
  uint64_t length = argument_number(1, 0);
  if (length > sizeof many) {
    panic("at most %lu bytes", sizeof many);
  }
  if (length > 0) {
    memset(many, '.', length);
    many[length - 1] = '\n';
    write(many, length);
  }
  return 0;
}

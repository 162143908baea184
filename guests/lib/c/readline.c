/* Swift's readLine. */
#include "applet.h"

/* The next line of standard input with its newline, allocated. Returns its length; -1 at the end of the input. */
intptr_t swift_stdlib_readLine_stdin(unsigned char **line) {
  static unsigned char bytes[512];
  static size_t start, end;
  size_t length = 0;
  *line = NULL;
  for (;;) {
    if (start == end) {
      flush_output();
      int64_t count = applet_read(bytes, sizeof bytes);
      if (count <= 0) {
        return length > 0 ? (intptr_t)length : -1;
      }
      start = 0;
      end = (size_t)count;
    }
    size_t found = start;
    while (found < end && bytes[found] != '\n') {
      found++;
    }
    size_t count = found < end ? found + 1 - start : end - start;
    unsigned char *longer = realloc(*line, length + count);
    if (longer == NULL) {
      panic("no memory for a line of %zu bytes", length + count);
    }
    memcpy(longer + length, bytes + start, count);
    *line = longer;
    length += count;
    start += count;
    if (longer[length - 1] == '\n') {
      return (intptr_t)length;
    }
  }
}

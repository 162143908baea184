/* putchar, which Embedded Swift's own print calls for every byte. Output is collected, so that a line needs one call. */
#include "applet.h"

static struct text line;

void flush_output(void) {
  text_flush(&line);
}

int putchar(int character) {
  text_character(&line, (char)character);
  if (character == '\n') {
    text_flush(&line);
  }
  return (unsigned char)character;
}

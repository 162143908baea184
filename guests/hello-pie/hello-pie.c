/* The C hello as a static PIE, which the monitor may load at any address; guests whose name ends in -pie are linked this way.
 * The table of pointers needs relocations, which start.S applies; a wrong one would change the first line. */
#include "applet.h"

static const char *const words[] = {"hello", "from", "C", "on", APPLET_ARCHITECTURE};

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  unsigned char random[16];
  applet_getrandom(random, sizeof random);

  struct text out;
  text_start(&out);
  const char *const *volatile table = words; /* so that the compiler does not replace the pointers */
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    text_format(&out, i == 0 ? "%s" : " %s", table[i]);
  }
  text_format(&out, "\narguments:");
  for (size_t i = 1; argument(&arguments, i) != NULL; i++) {
    text_format(&out, " %s", argument(&arguments, i));
  }
  text_format(&out, "\nrandom: ");
  text_hex(&out, random, sizeof random);
  text_character(&out, '\n');
  text_flush(&out);

  const char *status = text_after(argument(&arguments, 1), "--status=");
  return status ? (int)number_from(status) : 0;
}

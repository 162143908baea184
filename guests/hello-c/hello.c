/* Writes a greeting with four calls: arguments, getrandom, write, exit. */
#include "applet.h"

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  unsigned char random[16];
  applet_getrandom(random, sizeof random);

  struct text out;
  text_start(&out);
  text_format(&out, "hello from C on " APPLET_ARCHITECTURE "\narguments:");
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

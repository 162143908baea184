/* Writes one character in each call, without a newline at the end. */
#include "applet.h"

int main(void) {
  for (const char *character = "put-character: abc\nno newline"; *character != 0; character++) {
    applet_put_character(*character);
  }
  return 0;
}

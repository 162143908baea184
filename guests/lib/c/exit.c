/* The end of an applet. */
#include "applet.h"

/* What is left to do first: nothing, unless putchar.c is linked, which has a definition of its own. */
__attribute__((weak)) void before_exit(void) {}

void exit(int status) {
  before_exit();
  applet_exit(status);
}

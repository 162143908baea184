#include "applet.h"

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  const char *name = argument(&arguments, 1);
  print("hello, %s\n", name ? name : "world");
  return 0;
}

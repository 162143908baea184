/* Prints each of its arguments with its index, and then gets part of them again. */
#include "applet.h"

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  for (size_t i = 0; argument(&arguments, i) != NULL; i++) {
    print("%lu: %s\n", i, argument(&arguments, i));
  }
  char part[2] = {0x5a, 0x5a};
  int64_t size = applet_arguments(part, 1);
  int64_t size_alone = applet_arguments(part, 0);
  if (size != (int64_t)arguments.size || size_alone != size || part[0] != arguments.bytes[0] || part[1] != 0x5a) {
    panic("sizes %lu, %ld and %ld", arguments.size, size, size_alone);
  }
  return 0;
}

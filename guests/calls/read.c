/* Echoes standard input to its end, reading as many bytes in a call as its argument says (256), and counts them. */
#include "applet.h"

int main(void) {
  char bytes[4096];
  uint64_t piece = argument_number(1, 256);
  if (piece == 0 || piece > sizeof bytes) {
    panic("1 to %lu bytes a call", sizeof bytes);
  }
  uint64_t total = 0;
  for (;;) {
    int64_t count = applet_read(bytes, piece);
    if (count < 0 || count > (int64_t)piece) {
      panic("read of %lu bytes answered %ld", piece, count);
    }
    if (count == 0) {
      break;
    }
    total += (uint64_t)count;
    applet_write(bytes, (size_t)count);
  }
  print("read: %lu bytes\n", total);
  return 0;
}

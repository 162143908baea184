/* Counts lines, words and bytes of its standard input, like wc(1):
 *
 *     echo "one two" | swiftlet run wordcount.elf
 */
#include <stdbool.h>

#include "applet.h"

int main(void) {
  char buffer[512];
  unsigned long lines = 0, words = 0, bytes = 0;
  bool in_word = false;
  int64_t count;
  while ((count = applet_read(buffer, sizeof buffer)) > 0) {
    bytes += (unsigned long)count;
    for (int64_t i = 0; i < count; i++) {
      bool is_space = buffer[i] == ' ' || (buffer[i] >= '\t' && buffer[i] <= '\r');
      lines += buffer[i] == '\n';
      words += !is_space && !in_word;
      in_word = !is_space;
    }
  }
  if (count < 0) {
    panic("standard input cannot be read: error %d", (int)-count);
  }
  print("%lu %lu %lu\n", lines, words, bytes);
  return 0;
}

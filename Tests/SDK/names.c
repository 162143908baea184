/* An applet may have functions with any name that is not in applet.h. Text of putchar keeps its place. A block can always be made smaller. */
#include "applet.h"

void start(int number);
void format_double(int number);
void format_begin(int number);
void run_exit_functions(void);

void start(int number) {
  print("start %d\n", number);
}

void format_double(int number) {
  print("format_double %d\n", number);
}

void format_begin(int number) {
  print("format_begin %d\n", number);
}

void run_exit_functions(void) {
  print("run_exit_functions\n");
}

int main(void) {
  start(1);
  format_double(2);
  format_begin(3);
  print("%.1f %5d|\n", 2.5, 4);
  putchar('>');
  print(" after putchar\n");
  run_exit_functions();
  size_t size = 1 << 20;
  char *block = malloc(size);
  while (block != NULL) {
    char *larger = realloc(block, size + (1 << 20));
    if (larger == NULL) {
      break;
    }
    block = larger;
    size += 1 << 20;
  }
  block[99] = 7;
  block = realloc(block, size / 4);
  print("smaller %d\n", block == NULL ? 0 : block[99]);
  putchar('!');
  panic("the end");
}

/* Its first CPU sleeps for an hour; its second does forever what the argument says: loops, or writes lines. */
#include "firmware.h"

static char stack[4096] __attribute__((aligned(64)));
static char lines[4096];

static void spin(uint64_t unused) {
  for (;;) {
    __asm__ volatile("" : : "r"(unused));
  }
}

static void flood(uint64_t unused) {
  (void)unused;
  for (;;) {
    applet_write(lines, sizeof lines);
  }
}

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  const char *what = argument(&arguments, 1);
  for (size_t i = 0; i < sizeof lines; i++) {
    lines[i] = i % 64 == 63 ? '\n' : '.';
  }
  if (processor_start(1, text_after(what, "write") ? flood : spin, 0, stack + sizeof stack) != 0) {
    panic("processor 1 does not start");
  }
  applet_sleep(3600000000000);
  return 0;
}

/* Writes as many bytes as its argument says, from a region at 0x180000000 that the monitor has added. Meanwhile its second CPU makes the
 * call 0x50, which an embedder may answer by removing the region. */
#include "firmware.h"

static char stack[4096] __attribute__((aligned(64)));

static void second(uint64_t unused) {
  (void)unused;
  applet_sleep(200000000);
  applet_call(0x50, 0, 0, 0);
  for (;;) {
  }
}

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  uint64_t length = number_from(argument(&arguments, 1));
  if (processor_start(1, second, 0, stack + sizeof stack) != 0) {
    panic("processor 1 does not start");
  }
  return applet_write((const void *)0x180000000, length) == (int64_t)length ? 0 : 1;
}

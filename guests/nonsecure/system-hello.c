/* Writes a greeting from system mode, and ends with the monitor's exit call. */
#include "applet.h"

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  uint64_t level;
#if defined(__aarch64__)
  __asm__("mrs %0, currentel" : "=r"(level));
  level >>= 2;
#elif defined(__riscv)
  level = 1; /* start.S has read sstatus, which traps outside of system mode */
#endif
  print("system-hello: level %lu on " APPLET_ARCHITECTURE ", argument %s\n", level, argument(&arguments, 1));
  const char *status = text_after(argument(&arguments, 1), "--status=");
  return status ? (int)number_from(status) : 0;
}

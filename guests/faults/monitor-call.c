/* Tries to call the host's kernel past the monitor's shim. arm64: HVC, or SMC with the argument smc; both are undefined in EL0.
 * riscv64: ECALL with the extension IDs of KVM and the firmware in a7, which must have no effect on a call of the monitor; or
 * with the one ID in its argument. */
#include "applet.h"

#if defined(__aarch64__)
int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  if (text_after(argument(&arguments, 1), "smc") != NULL) {
    print("monitor-call: smc\n");
    __asm__ volatile(".inst 0xd4000003" : : : "x0", "x1", "x2", "x3", "memory"); /* smc #0 */
  } else {
    print("monitor-call: hvc\n");
    __asm__ volatile(".inst 0xd4000002" : : : "x0", "x1", "x2", "x3", "memory"); /* hvc #0 */
  }
  panic("the host's kernel answered");
}

#elif defined(__riscv)
static void try(uint64_t extension) {
  register uint64_t a0 __asm__("a0") = APPLET_CALL_NANOTIME;
  register uint64_t a7 __asm__("a7") = extension;
  int64_t before = applet_nanotime();
  __asm__ volatile("ecall" : "+r"(a0), "+r"(a7) : : "memory");
  int64_t after = applet_nanotime();
  if ((int64_t)a0 < before || (int64_t)a0 > after || a7 != extension) {
    panic("a7 = 0x%lx changed the call: a0 = 0x%lx, a7 = 0x%lx", extension, a0, a7);
  }
  print("monitor-call: a7 = 0x%lx makes no difference\n", extension);
}

int main(void) {
  static const uint64_t extensions[] = {
    0,          /* legacy: set timer */
    1,          /* legacy: console putchar */
    8,          /* legacy: shutdown */
    0x10,       /* base */
    0x08000000, /* experimental: the monitor's own */
    0x09000000, /* vendor */
    0x4442434e, /* debug console */
    0x53525354, /* system reset */
    UINT64_MAX,
  };
  uint64_t only = argument_number(1, UINT64_MAX);
  if (only != UINT64_MAX) {
    try(only);
    return 0;
  }
  for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++) {
    try(extensions[i]);
  }
  return 0;
}
#endif

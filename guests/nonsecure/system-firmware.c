/* Queries the firmware: PSCI VERSION and FEATURES, SBI's base extension. */
#include "firmware.h"

int main(void) {
#if defined(__aarch64__)
  int64_t version = psci(PSCI_VERSION, 0, 0, 0);
  print("system-firmware: PSCI %s\n", version >= 0x10000 ? "1.0 or later" : "before 1.0");
  static const uint64_t wanted[] = {PSCI_CPU_ON, PSCI_SYSTEM_OFF, PSCI_SYSTEM_RESET};
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
    if (psci(PSCI_FEATURES, wanted[i], 0, 0) < 0) {
      panic("no function 0x%lx", wanted[i]);
    }
  }
  int64_t unknown = psci(PSCI_FEATURES, 0x840000ff, 0, 0);
#elif defined(__riscv)
  struct sbi_result version = sbi(SBI_BASE, 0, 0, 0, 0);
  print("system-firmware: SBI %s\n", version.error == 0 && version.value >= 0x2000000 ? "2.0 or later" : "before 2.0");
  static const uint64_t wanted[] = {SBI_BASE, SBI_TIME, SBI_HSM, SBI_SRST, SBI_DBCN, APPLET_SBI_EXTENSION};
  for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
    struct sbi_result probe = sbi(SBI_BASE, 3, wanted[i], 0, 0);
    if (probe.error != 0 || probe.value == 0) {
      panic("no extension 0x%lx", wanted[i]);
    }
  }
  struct sbi_result probe = sbi(SBI_BASE, 3, 0x08000007, 0, 0);
  if (probe.error != 0 || probe.value != 0) {
    panic("an extension that is not there: %ld, %ld", probe.error, probe.value);
  }
  int64_t unknown = sbi(SBI_BASE, 99, 0, 0, 0).error;
#endif
  print("system-firmware: what is unknown is %s\n", unknown == NOT_SUPPORTED ? "not supported" : "something else");
  return 0;
}

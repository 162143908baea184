/* riscv64: writes and reads with SBI's debug console extension. arm64 has no equivalent. */
#include "firmware.h"

int main(void) {
#if defined(__aarch64__)
  print("system-dbcn: not on arm64\n");
#elif defined(__riscv)
  static const char text[] = "system-dbcn: a line at once\n";
  struct sbi_result result = sbi(SBI_DBCN, 0, sizeof text - 1, (uint64_t)text, 0);
  if (result.error != 0 || result.value != sizeof text - 1) {
    panic("write: %ld, %ld", result.error, result.value);
  }
  for (const char *c = "system-dbcn: a byte a call\n"; *c != 0; c++) {
    if (sbi(SBI_DBCN, 2, (unsigned char)*c, 0, 0).error != 0) {
      panic("write byte failed");
    }
  }
    /* Addresses outside of its memory: before it, past its end, beyond 64 bits. */
  static const uint64_t bad[][3] = {{8, 0x1000, 0}, {1ull << 40, (uint64_t)text, 0}, {8, (uint64_t)text, 1}, {-1ull, 8, 0}};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    result = sbi(SBI_DBCN, 0, bad[i][0], bad[i][1], bad[i][2]);
    if (result.error != -3) {
      panic("bad address %lu: %ld", i, result.error);
    }
  }
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    result = sbi(SBI_DBCN, 1, bad[i][0], bad[i][1], bad[i][2]);
    if (result.error != -3) {
      panic("bad address %lu to read to: %ld", i, result.error);
    }
  }
  if (sbi(SBI_DBCN, 9, 0, 0, 0).error != NOT_SUPPORTED) {
    panic("a function that there is not");
  }
  print("system-dbcn: bad addresses refused\n");
  static char line[8];
  result = sbi(SBI_DBCN, 1, sizeof line - 1, (uint64_t)line, 0);
  if (result.error != 0) {
    panic("read: %ld", result.error);
  }
  print("system-dbcn: read %ld bytes: %s\n", result.value, line);
#endif
  return 0;
}

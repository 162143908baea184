/* Makes calls that do not exist, each of which returns NOT_SUPPORTED. */
#include "firmware.h"

int main(void) {
#if defined(__aarch64__)
  static const uint64_t numbers[] = {6, 0xff, 0x1ff, 0x7777, 0x84000fff, 0xc6001234, 0xffffffff};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    int64_t result = applet_call(numbers[i], 1, 2, 3);
    if ((int32_t)result != NOT_SUPPORTED) {
      panic("call 0x%lx answers %ld", numbers[i], result);
    }
  }
#elif defined(__riscv)
  static const uint64_t numbers[][2] = {{APPLET_SBI_EXTENSION, 6}, {APPLET_SBI_EXTENSION, 0x7777}, {APPLET_SBI_EXTENSION, -1ul},
                                        {0x08000002, 0}, {0x08ffffff, 1}, {0x09000000, 0}, {0x0a000000, 0}, {0x4442434f, 0}};
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
    struct sbi_result result = sbi(numbers[i][0], numbers[i][1], 1, 2, 3);
    if (result.error != NOT_SUPPORTED) {
      panic("call 0x%lx, 0x%lx answers %ld", numbers[i][0], numbers[i][1], result.error);
    }
  }
#endif
  print("system-unknown-call: not supported\n");
  return 0;
}

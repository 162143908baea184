/* Waits 20 ms with its own timer: SBI's TIME extension and an interrupt on riscv64, the virtual timer on arm64. */
#include "firmware.h"

#if defined(__riscv)
static volatile uint64_t cause;

__attribute__((interrupt("supervisor"), aligned(4))) static void on_trap(void) {
  uint64_t value;
  __asm__ volatile("csrr %0, scause" : "=r"(value));
  __asm__ volatile("csrw sie, zero"); /* once is enough */
  cause = value;
}
#endif

int main(void) {
  int64_t before = applet_monotonic();
#if defined(__aarch64__)
  uint64_t frequency, now, control;
  __asm__("mrs %0, cntfrq_el0" : "=r"(frequency));
  __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(now));
  __asm__ volatile("msr cntv_cval_el0, %0" : : "r"(now + frequency / 50));
  __asm__ volatile("msr cntv_ctl_el0, %0\n\tisb" : : "r"(3ul)); /* enabled, its interrupt masked: there is no controller */
  do {
    __asm__ volatile("isb\n\tmrs %0, cntv_ctl_el0" : "=r"(control));
  } while ((control & 4) == 0);
#elif defined(__riscv)
  uint64_t frequency = (uint64_t)applet_call(APPLET_CALL_COUNTER, 0, 0, 0), now;
  __asm__ volatile("csrw stvec, %0" : : "r"(on_trap));
  __asm__ volatile("csrw sie, %0" : : "r"(1ul << 5));
  __asm__ volatile("csrr %0, time" : "=r"(now));
  struct sbi_result result = sbi(SBI_TIME, 0, now + frequency / 50, 0, 0);
  if (result.error != 0) {
    panic("set_timer: %ld", result.error);
  }
  /* WFI ends when the interrupt is pending. If it were taken before, WFI would wait for ever. */
  while (cause == 0) {
    __asm__ volatile("wfi\n\tcsrs sstatus, %0\n\tcsrc sstatus, %0" : : "r"(1ul << 1));
  }
  if (cause != (1ul << 63 | 5)) {
    panic("cause 0x%lx in place of the timer's", cause);
  }
#endif
  int64_t passed = applet_monotonic() - before;
  print("system-time: 20 ms were %s\n", passed >= 20000000 ? "20 ms or more" : "less");
  return 0;
}

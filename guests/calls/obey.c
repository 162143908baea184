/* Executes commands for monitors with a handler of their own: call 0x500 returns the command, 0x501 the address for it, and
 * 0x502 passes the result. */
#include "probe.h"

static uint64_t thread_pointer(void) {
  uint64_t value;
#if defined(__aarch64__)
  __asm__ volatile("mrs %0, tpidr_el0" : "=r"(value));
#elif defined(__riscv)
  __asm__ volatile("mv %0, tp" : "=r"(value));
#endif
  return value;
}

static void set_thread_pointer(uint64_t value) {
#if defined(__aarch64__)
  __asm__ volatile("msr tpidr_el0, %0" : : "r"(value));
#elif defined(__riscv)
  __asm__ volatile("mv tp, %0" : : "r"(value));
#endif
}

/* A function of its own: a monitor that stops the applet sees by its pc that it is in this loop. */
__attribute__((noinline, noreturn)) static void spin(void) {
  for (;;) {
    __asm__ volatile("");
  }
}

int main(void) {
  for (;;) {
    int64_t wanted = applet_call(0x500, 0, 0, 0);
    uint64_t address = (uint64_t)applet_call(0x501, 0, 0, 0);
    uint64_t result = 0;
    switch (wanted) {
    case 0: applet_exit(0);
    case 1: result = load(address); break;
    case 2: store(address, 0x1122334455667788); break;
    case 3: jump(address); break;
    case 4: spin();
    case 5: result = (uint64_t)applet_write((const void *)address, 1); break;
    case 6: result = (uint64_t)applet_sleep(address); break;
    case 7: result = (uint64_t)applet_read((void *)address, 1); break;
    case 8:
      result = load(address);
      store(address, result + 1);
      break;
    case 9: set_thread_pointer(address); break;
    case 10: result = thread_pointer(); break;
    default: panic("nothing to do is called %ld", wanted);
    }
    applet_call(0x502, result, 0, 0);
  }
}

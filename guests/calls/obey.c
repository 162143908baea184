/* Does what the monitor says, for monitors with a handler of their own: call 0x500 answers what is to be done, 0x501 the
 * address to do it at, and 0x502 hands over what came of it. */
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
    case 4:
      for (;;) {
        __asm__ volatile("");
      }
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

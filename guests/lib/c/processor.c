/* Starts another CPU: it begins with the MMU off, and gets the settings of this CPU. */
#ifdef SYSTEM_MODE
#include "firmware.h"

/* Read by processor-entry.S, in this order. On arm64 with its caches off. */
struct start {
  uint64_t stack;
  uint64_t body;
  uint64_t argument;
  uint64_t registers[5];
};

extern const char processor_entry[];

int64_t processor_start(uint64_t number, void (*body)(uint64_t), uint64_t argument, void *stack_end) {
  struct start *start = (struct start *)((uint64_t)stack_end & ~(uint64_t)63) - 1;
  start->stack = (uint64_t)start;
  start->body = (uint64_t)body;
  start->argument = argument;
#if defined(__aarch64__)
  __asm__("mrs %0, mair_el1" : "=r"(start->registers[0]));
  __asm__("mrs %0, tcr_el1" : "=r"(start->registers[1]));
  __asm__("mrs %0, ttbr0_el1" : "=r"(start->registers[2]));
  __asm__("mrs %0, vbar_el1" : "=r"(start->registers[3]));
  __asm__("mrs %0, sctlr_el1" : "=r"(start->registers[4]));
  __asm__ volatile("dc cvac, %0\n\tdsb sy" : : "r"(start) : "memory"); /* 64 bytes, a whole cache line */
  uint64_t mpidr = (number & 0xf) | (number >> 4 & 0xff) << 8 | (number >> 12 & 0xff) << 16;
  return psci(PSCI_CPU_ON, mpidr, (uint64_t)processor_entry, (uint64_t)start);
#elif defined(__riscv)
  __asm__("csrr %0, satp" : "=r"(start->registers[0]));
  __asm__("csrr %0, stvec" : "=r"(start->registers[1]));
  return sbi(SBI_HSM, 0, number, (uint64_t)processor_entry, (uint64_t)start).error;
#endif
}
#endif

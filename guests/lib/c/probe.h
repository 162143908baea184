/* Accesses of fault guests: single loads, stores and jumps that the compiler neither removes nor diagnoses. */
#ifndef PROBE_H
#define PROBE_H

#include "applet.h"

static inline uint64_t load(uint64_t address) {
  __asm__ volatile("" : "+r"(address));
  return *(const volatile uint64_t *)address;
}

static inline void store(uint64_t address, uint64_t value) {
  __asm__ volatile("" : "+r"(address));
  *(volatile uint64_t *)address = value;
}

static inline void jump(uint64_t address) {
  __asm__ volatile("" : "+r"(address));
  ((void (*)(void))address)();
}

/* The return instruction, as code to store where execution is not allowed. */
#if defined(__aarch64__)
#define RETURN_INSTRUCTION 0xd65f03c0u
#elif defined(__riscv)
#define RETURN_INSTRUCTION 0x00008067u
#endif

/* The first address past the applet's memory, where the monitor's own pages start. */
static inline uint64_t memory_end(void) {
  struct applet_region stack = region_of_use(APPLET_USE_STACK);
  return stack.start + stack.length;
}

#endif

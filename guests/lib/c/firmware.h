/* The firmware interface of a program in system mode: PSCI on arm64, SBI on riscv64, and the start of other CPUs. */
#ifndef FIRMWARE_H
#define FIRMWARE_H

#include "applet.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__aarch64__)
/* Function identifiers of the Power State Coordination Interface (DEN 0022). */
#define PSCI_VERSION 0x84000000u
#define PSCI_CPU_ON 0xc4000003u
#define PSCI_SYSTEM_OFF 0x84000008u
#define PSCI_SYSTEM_RESET 0x84000009u
#define PSCI_FEATURES 0x8400000au

static inline int64_t psci(uint64_t function, uint64_t a, uint64_t b, uint64_t c) {
  return applet_call(function, a, b, c);
}

#elif defined(__riscv)
/* Extension ids of the Supervisor Binary Interface. */
#define SBI_BASE 0x10
#define SBI_TIME 0x54494d45
#define SBI_HSM 0x48534d
#define SBI_SRST 0x53525354
#define SBI_DBCN 0x4442434e

struct sbi_result {
  int64_t error;
  int64_t value;
};

static inline struct sbi_result sbi(uint64_t extension, uint64_t function, uint64_t a, uint64_t b, uint64_t c) {
  register uint64_t a0 __asm__("a0") = a;
  register uint64_t a1 __asm__("a1") = b;
  register uint64_t a2 __asm__("a2") = c;
  register uint64_t a6 __asm__("a6") = function;
  register uint64_t a7 __asm__("a7") = extension;
  __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
  return (struct sbi_result){(int64_t)a0, (int64_t)a1};
}
#endif

/* Powers the VM off or resets it. Returns only if the monitor refuses. */
static inline void machine_off(void) {
#if defined(__aarch64__)
  psci(PSCI_SYSTEM_OFF, 0, 0, 0);
#elif defined(__riscv)
  sbi(SBI_SRST, 0, 0, 0, 0);
#endif
}

static inline void machine_reset(void) {
#if defined(__aarch64__)
  psci(PSCI_SYSTEM_RESET, 0, 0, 0);
#elif defined(__riscv)
  sbi(SBI_SRST, 0, 1, 0, 0);
#endif
}

/* Starts another CPU, which calls the body with the argument, with MMU and caches on as here, on a stack that ends at this
 * address. If the body returns, the CPU waits forever. Returns the result of PSCI or SBI: 0, or a negative number. */
int64_t processor_start(uint64_t number, void (*body)(uint64_t), uint64_t argument, void *stack_end);

#ifdef __cplusplus
}
#endif

#endif

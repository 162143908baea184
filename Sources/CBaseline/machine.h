// A minimal VM: about a page of memory, one vCPU, and a few instructions in a loop.
#ifndef SWIFTLET_BASELINE_MACHINE_H
#define SWIFTLET_BASELINE_MACHINE_H

#include <errno.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#if defined(__aarch64__) || (defined(__riscv) && __riscv_xlen == 64)
#define BASELINE_HAS_GUESTS 1
#else
#define BASELINE_HAS_GUESTS 0
#endif

#define GUEST_ADDRESS 0x80000000ull

// The guests' instructions, and the exit that their loop makes.
#if defined(__aarch64__)
#define CALL_EXIT 3 /* KVM_EXIT_HYPERCALL */
#define CODE_CALL {0xd2800020 /* mov x0, #1 */, 0xd4000002 /* hvc #0 */, 0x17fffffe /* b to the first */}
#define CODE_STORE {0xd2a12001 /* mov x1, #0x09000000 */, 0xb9000020 /* str w0, [x1] */, 0x17ffffff /* b to the store */}
#define CODE_SPIN {0x14000000 /* b to itself */}
#define REGISTER_PC (KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pc))
#elif BASELINE_HAS_GUESTS
#define CALL_EXIT 35 /* KVM_EXIT_RISCV_SBI */
#define CODE_CALL {0x00100513 /* li a0, 1 */, 0x080008b7 /* lui a7, 0x8000: SBI's experimental range */, \
                   0x00000073 /* ecall */, 0xff5ff06f /* j to the first */}
#define CODE_STORE {0x090005b7 /* lui a1, 0x9000: 0x09000000 */, 0x00a5a023 /* sw a0, (a1) */, \
                    0xffdff06f /* j to the store */}
#define CODE_SPIN {0x0000006f /* j to itself */}
#define REGISTER_PC (KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_CORE | KVM_REG_RISCV_CORE_REG(regs.pc))
#endif

#if defined(__aarch64__)
// Linux 6.4 and later; the header may be older.
struct baseline_smccc_filter {
  uint32_t base, count;
  uint8_t action, pad[15];
};
#endif

#if BASELINE_HAS_GUESTS

#include "CLinux.h"

struct machine {
  int kvm, vm, vcpu;
  uint32_t exit; // of its guest's loop
  struct kvm_run *run;
  size_t run_size;
  unsigned char *memory;
  size_t memory_size;
};

// The loop of a guest. Each but the last exits in every iteration, so that no baseline hangs.
enum machine_guest {
  GUEST_CALLS,  // a hypercall; a store on arm64 before Linux 6.4, which forwards none
  GUEST_STORES, // a store to an address without memory
  GUEST_SPINS,  // a jump to itself, until a kick
};

// Creates a VM with at least `room` bytes of memory. Returns 0 or -errno; all resources are released then.
long machine_open(struct machine *machine, enum machine_guest guest, size_t room);
void machine_close(struct machine *machine);

// Runs the guest to its next call.
static inline long machine_call(const struct machine *machine) {
  long result = linux_ioctl(machine->vcpu, KVM_RUN, 0);
  if (result < 0) return result;
  return machine->run->exit_reason == machine->exit ? 0 : -EPROTO;
}

static inline int64_t now(void) { return linux_clock(CLOCK_MONOTONIC); }

#define CHECK(result) \
  do { \
    long check_result = (result); \
    if (check_result < 0) return check_result; \
  } while (0)

#endif

#endif

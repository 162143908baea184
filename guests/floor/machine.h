/* The smallest machine that KVM can run, for the two programs beside this file: one page of memory, one vCPU, and in it
 * a loop that does nothing but call out. No monitor can be faster; what a monitor adds is counted from here. */
#ifndef MACHINE_H
#define MACHINE_H

#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_ADDRESS 0x80000000ull

/* The loop: hypercall number 1, again and again. */
extern const char guest_start[], guest_end[];
#if defined(__aarch64__)
#define CALL_EXIT KVM_EXIT_HYPERCALL
__asm__(
    ".pushsection .rodata\n"
    ".balign 4\n"
    "guest_start:\n"
    "  mov x0, #1\n"
    "  .inst 0xd4000002\n" /* hvc #0, which the assembler wants an architecture extension for */
    "  b guest_start\n"
    "guest_end:\n"
    ".popsection");
#elif defined(__riscv)
#define CALL_EXIT KVM_EXIT_RISCV_SBI
__asm__(
    ".pushsection .rodata\n"
    ".balign 4\n"
    "guest_start:\n"
    "  li a0, 1\n"
    "  lui a7, 0x8000\n" /* SBI's experimental range: the kernel hands it on */
    "  ecall\n"
    "  j guest_start\n"
    "guest_end:\n"
    ".popsection");
#endif

struct machine {
  int vcpu;
  struct kvm_run *run;
};

/* The result, or the end of the program where it is negative. */
static inline int check(int result, const char *what) {
  if (result < 0) {
    perror(what);
    exit(1);
  }
  return result;
}

static inline void *map(size_t size, int flags, int file) {
  void *address = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, file, 0);
  if (address == MAP_FAILED) {
    perror("mmap");
    exit(1);
  }
  return address;
}

/* Sets the register that holds the next instruction's address. */
static inline void set_pc(int vcpu, uint64_t value) {
#if defined(__aarch64__)
  uint64_t pc = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pc);
#elif defined(__riscv)
  uint64_t pc = KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_CORE | KVM_REG_RISCV_CORE_REG(regs.pc);
#endif
  struct kvm_one_reg one = {.id = pc, .addr = (uintptr_t)&value};
  check(ioctl(vcpu, KVM_SET_ONE_REG, &one), "KVM_SET_ONE_REG");
}

static inline struct machine machine_open(void) {
  int kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
  int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
#if defined(__aarch64__)
  /* Without this filter the kernel itself answers unknown hypercalls. */
  struct kvm_smccc_filter filter = {.base = 0, .nr_functions = 6, .action = KVM_SMCCC_FILTER_FWD_TO_USER};
  struct kvm_device_attr attribute = {
      .group = KVM_ARM_VM_SMCCC_CTRL, .attr = KVM_ARM_VM_SMCCC_FILTER, .addr = (uintptr_t)&filter};
  check(ioctl(vm, KVM_SET_DEVICE_ATTR, &attribute), "KVM_ARM_VM_SMCCC_FILTER");
#endif

  size_t size = (size_t)sysconf(_SC_PAGESIZE);
  void *memory = map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  memcpy(memory, guest_start, (size_t)(guest_end - guest_start));
  struct kvm_userspace_memory_region region = {
      .guest_phys_addr = GUEST_ADDRESS, .memory_size = size, .userspace_addr = (uintptr_t)memory};
  check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), "KVM_SET_USER_MEMORY_REGION");

  int vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
#if defined(__aarch64__)
  struct kvm_vcpu_init init;
  check(ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init), "KVM_ARM_PREFERRED_TARGET");
  init.features[0] |= 1u << KVM_ARM_VCPU_PSCI_0_2;
  check(ioctl(vcpu, KVM_ARM_VCPU_INIT, &init), "KVM_ARM_VCPU_INIT");
#endif
  set_pc(vcpu, GUEST_ADDRESS);

  int run_size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
  return (struct machine){.vcpu = vcpu, .run = map((size_t)run_size, MAP_SHARED, vcpu)};
}

/* Runs the guest to its next call. */
static inline void machine_call(const struct machine *machine) {
  check(ioctl(machine->vcpu, KVM_RUN, 0), "KVM_RUN");
  if (machine->run->exit_reason != CALL_EXIT) {
    fprintf(stderr, "KVM_RUN left with reason %u\n", machine->run->exit_reason);
    exit(1);
  }
}

#endif

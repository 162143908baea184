// Programs that are copied from this executable and run elsewhere: guests, and a Linux process without a C library.
// Each is in its own section and refers to nothing outside of it, so it runs at any address.
#include "baseline.h"
#include "machine.h"

#if BASELINE_HAS_GUESTS

#include "CLinux.h"
#include "applet_abi.h"

// no_builtin: otherwise the compiler may replace a loop by a call of memset(3), which is outside.
#define PLACE(name) __attribute__((section(name), noinline, used, no_builtin, no_stack_protector))
#define GUEST PLACE("baseline_guest")
#define START PLACE("baseline_start")

// Guests

#if defined(__aarch64__)
__attribute__((always_inline)) static inline uint64_t call(uint64_t number, uint64_t first, uint64_t second) {
  register uint64_t x0 __asm__("x0") = number;
  register uint64_t x1 __asm__("x1") = first;
  register uint64_t x2 __asm__("x2") = second;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2) : "memory");
  return x0;
}
#else
__attribute__((always_inline)) static inline uint64_t call(uint64_t number, uint64_t first, uint64_t second) {
  register uint64_t a0 __asm__("a0") = number;
  register uint64_t a1 __asm__("a1") = first;
  register uint64_t a2 __asm__("a2") = second;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2) : "memory");
  return a0;
}
#endif

// First in the section, which thus has the alignment that all of it needs.
#define LINE "hello from an applet\\n"
#define LINE_LENGTH "21"
__asm__(
    ".pushsection baseline_guest, \"ax\"\n"
    ".balign 64\n"
    "baseline_guest_hello:\n"
#if defined(__aarch64__)
    "  adr x1, 1f\n"
    "  mov x2, #" LINE_LENGTH "\n"
    "  mov x0, #0x100\n" // APPLET_CALL_WRITE
    "  svc #0\n"
    "  mov x1, #0\n"
    "  mov x0, #0\n" // APPLET_CALL_EXIT
    "  svc #0\n"
#else
    "  lla a1, 1f\n"
    "  li a2, " LINE_LENGTH "\n"
    "  li a0, 0x100\n"
    "  ecall\n"
    "  li a1, 0\n"
    "  li a0, 0\n"
    "  ecall\n"
#endif
    "1: .asciz \"" LINE "\"\n" // 22 bytes: RISC-V can only align instructions from even addresses
    ".balign 64\n"
    // These have their arguments before the section.
    "baseline_guest_system:\n"
#if defined(__aarch64__)
    "  adr x3, baseline_guest_hello\n"
    "  ldp x0, x1, [x3, #-32]\n"
    "  ldr x2, [x3, #-16]\n"
    "  b guest_system\n"
#else
    "  lla t0, baseline_guest_hello\n"
    "  ld a0, -32(t0)\n"
    "  ld a1, -24(t0)\n"
    "  ld a2, -16(t0)\n"
    "  tail guest_system\n"
#endif
    ".balign 64\n"
    "baseline_guest_calls:\n"
#if defined(__aarch64__)
    "  adr x3, baseline_guest_hello\n"
    "  ldr x0, [x3, #-32]\n"
    "  b guest_calls\n"
#else
    "  lla t0, baseline_guest_hello\n"
    "  ld a0, -32(t0)\n"
    "  tail guest_calls\n"
#endif
    ".balign 64\n"
    ".popsection");
void baseline_guest_hello(void);
void baseline_guest_system(void);
void baseline_guest_calls(void);

GUEST static void guest_times(uint64_t count, uint64_t *times, uint64_t mask) {
  for (uint64_t i = 0; i < count; i++) times[i & mask] = call(APPLET_CALL_NANOTIME, 0, 0);
  call(APPLET_CALL_EXIT, 0, 0);
}

GUEST static void guest_calls(uint64_t count) {
  for (uint64_t i = 0; i < count; i++) call(APPLET_CALL_NANOTIME, 0, 0);
  call(APPLET_CALL_EXIT, 0, 0);
}

GUEST static void guest_repeat(uint64_t number, uint64_t first, uint64_t second) {
  for (;;) call(number, first, second);
}

GUEST static void guest_rpc(uint64_t request, uint64_t size, uint64_t response, uint64_t capacity) {
  for (;;) {
    call(APPLET_CALL_RPC_REQUEST, request, size);
    call(APPLET_CALL_RPC_RESPONSE, response, capacity);
  }
}

GUEST static void guest_spin(void) {
  for (;;) __asm__ volatile("");
}

GUEST static void guest_sleep(void) {
  for (;;) call(APPLET_CALL_SLEEP, 1ull << 62, 0);
}

// A call from system mode.
__attribute__((always_inline)) static inline uint64_t call_monitor(uint64_t number, uint64_t first, uint64_t second) {
#if defined(__aarch64__)
  register uint64_t x0 __asm__("x0") = number;
  register uint64_t x1 __asm__("x1") = first;
  register uint64_t x2 __asm__("x2") = second;
  __asm__ volatile("hvc #0" : "+r"(x0) : "r"(x1), "r"(x2) : "memory");
  return x0;
#else
  register uint64_t a0 __asm__("a0") = first;
  register uint64_t a1 __asm__("a1") = second;
  register uint64_t a6 __asm__("a6") = number;
  register uint64_t a7 __asm__("a7") = APPLET_SBI_EXTENSION;
  __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a6), "r"(a7) : "memory");
  return a1;
#endif
}

__attribute__((always_inline)) static inline uint64_t counter(void) {
  uint64_t ticks;
#if defined(__aarch64__)
  __asm__ volatile("isb\n mrs %0, cntvct_el0" : "=r"(ticks) : : "memory");
#else
  __asm__ volatile("rdtime %0" : "=r"(ticks) : : "memory");
#endif
  return ticks;
}

GUEST static void guest_system(enum baseline_system_call kind, uint64_t count, uint64_t *times) {
  struct applet_block *block = (struct applet_block *)times - 1;
  if (kind == BASELINE_SYSTEM_BLOCK) call_monitor(APPLET_CALL_BLOCK, (uint64_t)block, 0);
  for (uint64_t i = 0; i < count; i++) {
    if (kind == BASELINE_SYSTEM_TIME) {
      times[i] = call_monitor(APPLET_CALL_NANOTIME, 0, 0);
    } else if (kind == BASELINE_SYSTEM_BLOCK) {
      block->number = APPLET_CALL_NANOTIME;
      call_monitor(APPLET_CALL_BY_BLOCK, 0, 0);
      times[i] = block->number;
    } else {
      call_monitor(APPLET_CALL_REGION, ~0ull, 0);
      times[i] = counter();
    }
  }
  for (;;) call_monitor(APPLET_CALL_EXIT, 0, 0);
}

// A small number that the compiler does not know: it may place known ones in constants outside the section.
__attribute__((always_inline)) static inline uint64_t hidden(uint32_t number) {
  uint64_t value = number;
  __asm__("" : "+r"(value));
  return value;
}

// One round of work.
GUEST static uint64_t work(enum baseline_processor_work kind, uint64_t steps, uint64_t *memory, uint64_t seed) {
  uint64_t value = seed;
  switch (kind) {
  case BASELINE_WORK_INTEGER:
    for (; steps > 0; steps--) {
      value ^= value << 13, value ^= value >> 7, value ^= value << 17; // Marsaglia's xorshift64
      value += steps * seed;
    }
    return value;
  case BASELINE_WORK_MEMORY: {
    // Accesses every word of the memory once, in an order without locality, repeatedly.
    uint64_t mask = BASELINE_WORK_MEMORY_SIZE / sizeof *memory - 1, at = 0;
    for (; steps > 0; steps--) {
      at = (at * 5 + 1) & mask;
      value += memory[at];
      memory[at] = value;
    }
    return value;
  }
  case BASELINE_WORK_FLOATING: {
    double step = (double)hidden(1) / (double)seed, sum = 0, product = (double)seed;
    for (; steps > 0; steps--) {
      product = product * step + sum;
      sum = sum * step + product / (double)steps;
    }
    return (uint64_t)(int64_t)(sum * (double)seed);
  }
  }
  return 0;
}

enum { SEED = 88172645 };

GUEST static void guest_work(uint64_t count, uint64_t *times, enum baseline_processor_work kind, uint64_t steps,
                             uint64_t *memory) {
  uint64_t result = SEED;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t start = call(APPLET_CALL_NANOTIME, 0, 0);
    result = work(kind, steps, memory, result | 1);
    times[i] = call(APPLET_CALL_NANOTIME, 0, 0) - start;
  }
  times[count] = result;
  call(APPLET_CALL_EXIT, 0, 0);
}

void baseline_work_on_host(long count, int64_t *times, enum baseline_processor_work kind, long steps, uint64_t *memory) {
  uint64_t result = SEED;
  for (long i = 0; i < count; i++) {
    int64_t start = linux_clock(CLOCK_MONOTONIC);
    result = work(kind, (uint64_t)steps, memory, result | 1);
    times[i] = linux_clock(CLOCK_MONOTONIC) - start;
  }
  times[count] = (int64_t)result;
}

extern const char __start_baseline_guest[], __stop_baseline_guest[], __stop_baseline_start[];

struct baseline_code baseline_guests(void) {
  return (struct baseline_code){__start_baseline_guest, (size_t)(__stop_baseline_guest - __start_baseline_guest)};
}

size_t baseline_guest_entry(enum baseline_guest guest) {
  uintptr_t entry = 0;
  switch (guest) {
  case BASELINE_GUEST_HELLO: entry = (uintptr_t)baseline_guest_hello; break;
  case BASELINE_GUEST_TIMES: entry = (uintptr_t)guest_times; break;
  case BASELINE_GUEST_REPEAT: entry = (uintptr_t)guest_repeat; break;
  case BASELINE_GUEST_RPC: entry = (uintptr_t)guest_rpc; break;
  case BASELINE_GUEST_SPIN: entry = (uintptr_t)guest_spin; break;
  case BASELINE_GUEST_SLEEP: entry = (uintptr_t)guest_sleep; break;
  case BASELINE_GUEST_SYSTEM: entry = (uintptr_t)baseline_guest_system; break;
  case BASELINE_GUEST_CALLS: entry = (uintptr_t)baseline_guest_calls; break;
  case BASELINE_GUEST_WORK: entry = (uintptr_t)guest_work; break;
  }
  return entry - (uintptr_t)__start_baseline_guest;
}

// The process

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#if defined(__aarch64__)
__attribute__((always_inline)) static inline long system_call(long number, long a, long b, long c, long d, long e) {
  register long x8 __asm__("x8") = number;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = 0;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
  return x0;
}
#else
__attribute__((always_inline)) static inline long system_call(long number, long a, long b, long c, long d, long e) {
  register long a7 __asm__("a7") = number;
  register long a0 __asm__("a0") = a;
  register long a1 __asm__("a1") = b;
  register long a2 __asm__("a2") = c;
  register long a3 __asm__("a3") = d;
  register long a4 __asm__("a4") = e;
  register long a5 __asm__("a5") = 0;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5) : "memory");
  return a0;
}
#endif

__attribute__((always_inline)) static inline long request(long file, unsigned long number, volatile void *argument) {
  long result = system_call(SYS_ioctl, file, (long)number, (long)argument, 0, 0);
  if (result < 0) system_call(SYS_exit_group, 1, 0, 0, 0, 0);
  return result;
}

enum { START_ROOM = 65536 }; // bytes of memory: whole pages, whatever their size

// Called by the kernel, which starts a process with an aligned stack pointer. What is written to memory is volatile;
// otherwise the compiler may collect it in constants outside the section.
START static void start(void) {
  volatile uint64_t path[] = {hidden(0x6d766b2f) << 32 | hidden(0x7665642f), 0}; // "/dev/kvm"
  long kvm = system_call(SYS_openat, AT_FDCWD, (long)path, O_RDWR, 0, 0);
  long vm = request(kvm, KVM_CREATE_VM, 0);
#if defined(__aarch64__)
  volatile struct baseline_smccc_filter filter;
  filter.base = 0, filter.count = 6, filter.action = LINUX_KVM_SMCCC_FILTER_FWD_TO_USER;
  for (volatile uint8_t *byte = filter.pad; byte < filter.pad + sizeof filter.pad; byte++) *byte = 0;
  volatile struct kvm_device_attr attribute;
  attribute.flags = 0, attribute.group = LINUX_KVM_ARM_VM_SMCCC_CTRL;
  attribute.attr = LINUX_KVM_ARM_VM_SMCCC_FILTER, attribute.addr = (uintptr_t)&filter;
  // Without the filter, before Linux 6.4, the guest uses a store to an address without memory.
  bool calls = system_call(SYS_ioctl, vm, KVM_SET_DEVICE_ATTR, (long)&attribute, 0, 0) == 0;
#else
  const bool calls = true;
#endif
  volatile uint32_t *memory = (volatile uint32_t *)system_call(
      SYS_mmap, 0, START_ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
#define WORDS(...) ((const uint32_t[])__VA_ARGS__)
#define WORD(code, i) (i < sizeof WORDS(code) / 4 ? WORDS(code)[i < sizeof WORDS(code) / 4 ? i : 0] : 0)
#define INSTRUCTION(i) \
  if (calls) \
    memory[i] = WORD(CODE_CALL, i); \
  else \
    memory[i] = WORD(CODE_STORE, i)
  INSTRUCTION(0);
  INSTRUCTION(1);
  INSTRUCTION(2);
  INSTRUCTION(3);
  volatile struct kvm_userspace_memory_region region;
  region.slot = 0, region.flags = 0, region.guest_phys_addr = GUEST_ADDRESS;
  region.memory_size = START_ROOM, region.userspace_addr = (uintptr_t)memory;
  request(vm, KVM_SET_USER_MEMORY_REGION, &region);
  long vcpu = request(vm, KVM_CREATE_VCPU, 0);
#if defined(__aarch64__)
  volatile struct linux_vcpu_init init;
  request(vm, LINUX_KVM_ARM_PREFERRED_TARGET, &init);
  init.features[0] |= 1u << LINUX_KVM_ARM_VCPU_PSCI_0_2;
  request(vcpu, LINUX_KVM_ARM_VCPU_INIT, &init);
#endif
  volatile uint64_t pc = GUEST_ADDRESS;
  volatile struct kvm_one_reg one;
  one.id = REGISTER_PC, one.addr = (uintptr_t)&pc;
  request(vcpu, LINUX_KVM_SET_ONE_REG, &one);
  long size = request(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  struct kvm_run *run = (struct kvm_run *)system_call(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu);
  request(vcpu, KVM_RUN, 0);
  uint32_t wanted = calls ? CALL_EXIT : KVM_EXIT_MMIO;
  system_call(SYS_exit_group, run->exit_reason == wanted ? 0 : 1, 0, 0, 0, 0);
}

struct baseline_code baseline_start_program(void) {
  // Refers to the function's address, since the linker removes unreferenced functions.
  return (struct baseline_code){(const void *)start, (size_t)(__stop_baseline_start - (const char *)start)};
}

#else

struct baseline_code baseline_guests(void) { return (struct baseline_code){0}; }
struct baseline_code baseline_start_program(void) { return (struct baseline_code){0}; }
size_t baseline_guest_entry(enum baseline_guest guest) { return (void)guest, 0; }
void baseline_work_on_host(long count, int64_t *times, enum baseline_processor_work work, long steps, uint64_t *memory) {
  (void)count, (void)times, (void)work, (void)steps, (void)memory;
}

#endif

// What Swift cannot reach by itself: variadic system calls, macros that compute a number, and thread-local state of a
// signal handler. Functions return a result or -errno, and do not set errno. Names begin with `linux_`.
#ifndef SWIFTLET_CLINUX_H
#define SWIFTLET_CLINUX_H

// Without _GNU_SOURCE, because the toolchain's module of the C library is built without it, and the two must agree.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "linux_daemon.h"
#include "linux_sandbox.h"

static inline long linux_result(long result) { return result < 0 ? -(long)errno : result; }

// Files and memory.

// Not through the C library: musl sets FD_CLOEXEC again after O_CLOEXEC, with another system call.
static inline long linux_open(const char *path, int flags, int mode) {
  return linux_result(syscall(SYS_openat, AT_FDCWD, path, flags, mode));
}
static inline long linux_close(int fd) { return linux_result(close(fd)); }
static inline long linux_read(int fd, void *to, size_t count) { return linux_result(read(fd, to, count)); }
static inline long linux_write(int fd, const void *from, size_t count) { return linux_result(write(fd, from, count)); }
static inline long linux_pread(int fd, void *to, size_t count, long offset) {
  return linux_result(pread(fd, to, count, offset));
}
// The only call of the run path. Not through the C library, which would convert the result to errno and back.
static inline long linux_ioctl(int fd, unsigned long request, unsigned long argument) {
#if defined(__aarch64__)
  register long x8 __asm__("x8") = SYS_ioctl;
  register long x0 __asm__("x0") = fd;
  register long x1 __asm__("x1") = (long)request;
  register long x2 __asm__("x2") = (long)argument;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory", "cc");
  return x0;
#elif defined(__riscv)
  register long a7 __asm__("a7") = SYS_ioctl;
  register long a0 __asm__("a0") = fd;
  register long a1 __asm__("a1") = (long)request;
  register long a2 __asm__("a2") = (long)argument;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
  return a0;
#else
  return linux_result(ioctl(fd, request, argument));
#endif
}
static inline long linux_mmap(size_t length, int protection, int flags, int fd, long offset) {
  void *address = mmap(NULL, length, protection, flags, fd, offset);
  return address == MAP_FAILED ? -(long)errno : (long)address;
}
static inline long linux_munmap(void *address, size_t length) { return linux_result(munmap(address, length)); }
/// A run of pages of `linux_pagemap_scan` (struct page_region).
struct linux_page_region {
  uint64_t start, end, categories;
};
/// The pages between two addresses that are present or swapped, in order: as many runs as there is room for, and in `*scanned` how
/// far they go. `pagemap`: open file /proc/self/pagemap. Fails before Linux 6.7 (PAGEMAP_SCAN).
long linux_pagemap_scan(int pagemap, uint64_t start, uint64_t end, struct linux_page_region *found, size_t room,
                        uint64_t *scanned);
static inline long linux_madvise(void *address, size_t length, int advice) {
  return linux_result(madvise(address, length, advice));
}
// Size in bytes of a regular file; -EISDIR for a directory, -EINVAL for any other kind of file.
static inline long linux_file_size(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -(long)errno;
  if (S_ISDIR(status.st_mode)) return -EISDIR;
  return S_ISREG(status.st_mode) ? (long)status.st_size : -EINVAL;
}
// Makes written code visible to instruction fetches; a no-op if the CPU does so itself.
static inline void linux_clean_instructions(void *from, size_t count) {
  __builtin___clear_cache((char *)from, (char *)from + count);
}
static inline long linux_getrandom(void *to, size_t count) { return linux_result(getrandom(to, count, 0)); }
static inline long linux_page_size(void) { return sysconf(_SC_PAGESIZE); }
static inline long linux_processor_count(void) { return sysconf(_SC_NPROCESSORS_ONLN); }

// Waiting.

// A counter that makes poll(2) return when it is signalled (eventfd).
static inline long linux_eventfd(void) { return linux_result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }
static inline long linux_eventfd_write(int event) { return linux_result(eventfd_write(event, 1)); }
// Waits until `fd` is readable (or at its end), `event` is signalled, or `nanoseconds` have passed (< 0: no limit).
// Returns 1 if `fd` is ready; a signal of `event` is consumed. `other`, unless it is -1, ends the wait, too.
long linux_wait_attending(int fd, int event, int other, int64_t nanoseconds);
static inline long linux_wait(int fd, int event, int64_t nanoseconds) {
  return linux_wait_attending(fd, event, -1, nanoseconds);
}
// Waits until `fd` is writable, or a signal arrives.
void linux_wait_writable(int fd);
// Whether `fd` is readable, or writable, without waiting.
static inline bool linux_can_read(int fd) {
  struct pollfd wanted = {.fd = fd, .events = POLLIN};
  return poll(&wanted, 1, 0) > 0;
}
static inline bool linux_can_write(int fd) {
  struct pollfd wanted = {.fd = fd, .events = POLLOUT};
  return poll(&wanted, 1, 0) > 0 && (wanted.revents & POLLOUT);
}

// Time. Functions that read a clock return nanoseconds.

int64_t linux_clock(clockid_t clock);
/// The same for a single time, which a system call reads with fewer instructions than the search for the vDSO's function takes.
int64_t linux_clock_once(clockid_t clock);
/// Whether reading a clock takes a system call: 1, or 0 if the vDSO reads it, or -1 if that is unknown. It is tried in a
/// process of its own.
int linux_clock_needs_calls(clockid_t clock);
/// The CPU-time clock of the calling thread, which other threads may read; never 0.
int32_t linux_thread_clock(void);
/// The time of any clock, by a system call; -1 if the clock's thread has ended.
int64_t linux_clock_of(int32_t clock);

// Threads.

// The members of `Lock`.
struct linux_lock {
  pthread_mutex_t mutex;
  pthread_cond_t condition;
};
// A condition variable whose timed waits use CLOCK_MONOTONIC.
static inline void linux_condition_init(pthread_cond_t *condition) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(condition, &attributes);
  pthread_condattr_destroy(&attributes);
}
// Waits until the condition is signalled, or until a CLOCK_MONOTONIC time in nanoseconds (< 0: no limit).
static inline void linux_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, int64_t until) {
  if (until < 0) {
    pthread_cond_wait(condition, mutex);
  } else {
    struct timespec end = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};
    pthread_cond_timedwait(condition, mutex, &end);
  }
}
// Starts a thread with a stack of this size in bytes; returns 0 or an errno value. A handle is a number here, because
// the type pthread_t depends on the C library.
static inline int linux_thread_create(uintptr_t *handle, size_t stack, void *(*body)(void *), void *argument) {
  pthread_t thread;
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  int result = pthread_attr_setstacksize(&attributes, stack);
  if (result == 0) result = pthread_create(&thread, &attributes, body, argument);
  if (result == 0) *handle = (uintptr_t)thread;
  pthread_attr_destroy(&attributes);
  return result;
}
static inline void linux_thread_join(uintptr_t handle) { pthread_join((pthread_t)handle, NULL); }
static inline void linux_thread_detach(uintptr_t handle) { pthread_detach((pthread_t)handle); }

// The command line.

/// The process's arguments. Must be called before the environment is changed.
int linux_argument_count(void);
char **linux_arguments(void);
/// Allows the first thread's stack to grow to 256 KiB, or ends the process with a message and status 123 if the limit
/// does not permit it. Must be called first, while little of the stack is in use.
void linux_ensure_stack(void);
/// Opens each of descriptors 0 to 2 that is closed, such that reads and writes fail with EBADF (poll(2), open(2)).
void linux_fill_standard_streams(void);

/// Makes `linux_getopt` begin with the first argument; must be called before each command line.
void linux_getopt_begin(void);
/// getopt_long(3) without messages, which stops at the first operand. Returns its result, -1 at the end. `*argument` is
/// set to the option's argument or, for '?' and ':', to the invalid one.
int linux_getopt(int count, char **words, const struct option *options, const char *shorts, const char **argument);
/// Index of the next argument; getopt_long's `optind`.
int linux_getopt_index(void);

// Threads that run a vCPU: the kick signal, its timer, and the run page that the handler changes.

/// The signal that makes a thread leave KVM_RUN.
static inline int linux_kick_signal(void) { return SIGUSR1; }
/// Installs the handler of the kick signal for the process; idempotent.
long linux_kick_install(void);
/// Sets or clears `immediate_exit`, which makes KVM_RUN return at once. Any thread may do so; the kernel reads it.
static inline void linux_set_immediate_exit(struct kvm_run *run, uint8_t value) {
  __atomic_store_n(&run->immediate_exit, value, __ATOMIC_RELAXED);
}
static inline uint8_t linux_immediate_exit(const struct kvm_run *run) {
  return __atomic_load_n(&run->immediate_exit, __ATOMIC_RELAXED);
}

/// Sets the run page (struct kvm_run) in which a kick of the calling thread sets `immediate_exit`; NULL for none.
extern _Thread_local struct kvm_run *volatile linux_kicked_run;
static inline void linux_kick_target(struct kvm_run *run) { linux_kicked_run = run; }
/// The run page that a kick of the calling thread marks now.
static inline struct kvm_run *linux_kick_target_now(void) { return linux_kicked_run; }
/// Unblocks the kick signal for the calling thread: threads of libdispatch, and so Swift tasks, block all signals.
/// Returns 1 if it was blocked.
int linux_kick_unblock(void);
/// Blocks kicks again.
void linux_kick_block(void);
/// The thread ID of the calling thread, for `linux_kick`.
long linux_thread_id(void);
/// Kicks a thread of this process.
long linux_kick(long thread);
/// Creates a timer that kicks a thread; returns its ID. `clock` is CLOCK_MONOTONIC or CLOCK_THREAD_CPUTIME_ID, the
/// caller's.
long linux_kick_timer(clockid_t clock, long thread);
/// Arms the timer to expire after `first` nanoseconds and then after every `interval`, until it is set again; 0 disarms
/// it.
long linux_kick_timer_set(long timer, int64_t first, int64_t interval);
long linux_kick_timer_delete(long timer);

/// arm64: frequency of the architectural counter in Hz (CNTFRQ_EL0); 0 elsewhere.
static inline uint64_t linux_counter_frequency(void) {
#ifdef __aarch64__
  uint64_t frequency;
  __asm__("mrs %0, cntfrq_el0" : "=r"(frequency));
  return frequency;
#else
  return 0;
#endif
}

// KVM's requests and numbers (Documentation/virt/kvm/api.rst). Those of a single architecture are literals, because the
// header is that of the build machine, and may be older than the kernel that runs the program.

enum linux_kvm_number {
  LINUX_KVM_API_VERSION = 12,
  LINUX_KVM_CAP_USER_MEMORY = 3,
  LINUX_KVM_CAP_NR_MEMSLOTS = 10,
  LINUX_KVM_CAP_MAX_VCPUS = 66,
  LINUX_KVM_CAP_ONE_REG = 70,
  LINUX_KVM_CAP_ARM_PSCI_0_2 = 102,
  LINUX_KVM_CAP_IMMEDIATE_EXIT = 136,
  LINUX_KVM_CAP_ARM_VM_IPA_SIZE = 165,
  LINUX_KVM_CAP_ARM_NISV_TO_USER = 177,

  LINUX_KVM_EXIT_HYPERCALL = 3,
  LINUX_KVM_EXIT_MMIO = 6,
  LINUX_KVM_EXIT_FAIL_ENTRY = 9,
  LINUX_KVM_EXIT_INTR = 10,
  LINUX_KVM_EXIT_INTERNAL_ERROR = 17,
  LINUX_KVM_EXIT_SYSTEM_EVENT = 24,
  LINUX_KVM_EXIT_ARM_NISV = 28,
  LINUX_KVM_EXIT_RISCV_SBI = 35,

  LINUX_KVM_MEM_READONLY = 2,

  // arm64: KVM_SET_DEVICE_ATTR on the VM (Documentation/virt/kvm/devices/vm.rst, since Linux 6.4)
  LINUX_KVM_ARM_VM_SMCCC_CTRL = 0,
  LINUX_KVM_ARM_VM_SMCCC_FILTER = 0,
  LINUX_KVM_SMCCC_FILTER_FWD_TO_USER = 2,
  LINUX_KVM_ARM_VCPU_POWER_OFF = 0,
  LINUX_KVM_ARM_VCPU_PSCI_0_2 = 2,
};

/// struct kvm_smccc_filter (arm64): forwards function ids base ..< base + count.
struct linux_smccc_filter {
  uint32_t base;
  uint32_t count;
  uint8_t action;
  uint8_t pad[15];
};

/// struct kvm_vcpu_init (arm64).
struct linux_vcpu_init {
  uint32_t target;
  uint32_t features[7];
};

/// struct kvm_vcpu_events (arm64).
struct linux_vcpu_events {
  uint8_t serror_pending;
  uint8_t serror_has_esr;
  uint8_t ext_dabt_pending;
  uint8_t pad[5];
  uint64_t serror_esr;
  uint32_t reserved[12];
};

static const unsigned long LINUX_KVM_GET_API_VERSION = KVM_GET_API_VERSION;
static const unsigned long LINUX_KVM_CREATE_VM = KVM_CREATE_VM;
static const unsigned long LINUX_KVM_CHECK_EXTENSION = KVM_CHECK_EXTENSION;
static const unsigned long LINUX_KVM_GET_VCPU_MMAP_SIZE = KVM_GET_VCPU_MMAP_SIZE;
static const unsigned long LINUX_KVM_CREATE_VCPU = KVM_CREATE_VCPU;
static const unsigned long LINUX_KVM_SET_USER_MEMORY_REGION = KVM_SET_USER_MEMORY_REGION;
static const unsigned long LINUX_KVM_RUN = KVM_RUN;
static const unsigned long LINUX_KVM_GET_STATS_FD = _IO(KVMIO, 0xce);
static const unsigned long LINUX_KVM_SET_DEVICE_ATTR = KVM_SET_DEVICE_ATTR;
static const unsigned long LINUX_KVM_ENABLE_CAP = KVM_ENABLE_CAP;
static const unsigned long LINUX_KVM_SET_VCPU_EVENTS = _IOW(KVMIO, 0xa0, struct linux_vcpu_events);
static const unsigned long LINUX_KVM_GET_ONE_REG = _IOW(KVMIO, 0xab, struct kvm_one_reg);
static const unsigned long LINUX_KVM_SET_ONE_REG = _IOW(KVMIO, 0xac, struct kvm_one_reg);
static const unsigned long LINUX_KVM_ARM_VCPU_INIT = _IOW(KVMIO, 0xae, struct linux_vcpu_init);
static const unsigned long LINUX_KVM_ARM_PREFERRED_TARGET = _IOR(KVMIO, 0xaf, struct linux_vcpu_init);

#include "devices.h"

#endif

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "machine.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include "CLinux.h"
#include "baseline.h"

#if BASELINE_HAS_GUESTS

// The address of requests in guest memory, after the code, and the maximum size of a request and its answer.
enum { REQUEST_OFFSET = 64, REQUEST_ROOM = 256 };

static const uint32_t code_call[] = CODE_CALL, code_store[] = CODE_STORE, code_spin[] = CODE_SPIN;

static const struct {
  const uint32_t *code;
  size_t size;
  uint32_t exit;
} guests[] = {
    [GUEST_CALLS] = {code_call, sizeof code_call, CALL_EXIT},
    [GUEST_STORES] = {code_store, sizeof code_store, KVM_EXIT_MMIO},
    [GUEST_SPINS] = {code_spin, sizeof code_spin, 0},
};

void machine_close(struct machine *machine) {
  if (machine->run) munmap(machine->run, machine->run_size);
  if (machine->vcpu > 0) close(machine->vcpu);
  if (machine->vm > 0) close(machine->vm);
  if (machine->memory) munmap(machine->memory, machine->memory_size);
  if (machine->kvm > 0) close(machine->kvm);
  *machine = (struct machine){0};
}

static long machine_make(struct machine *machine, enum machine_guest guest, size_t room) {
  if ((machine->vm = ioctl(machine->kvm, KVM_CREATE_VM, 0)) < 0) return -errno;
#if defined(__aarch64__)
  if (guest == GUEST_CALLS) {
    // Without this filter the kernel answers unknown hypercalls itself, and the guest would repeat them forever. On
    // kernels without it the guest uses a store to an address without memory, as Swiftlet's contexts do.
    struct baseline_smccc_filter filter = {.count = 6, .action = LINUX_KVM_SMCCC_FILTER_FWD_TO_USER};
    struct kvm_device_attr attribute = {.group = LINUX_KVM_ARM_VM_SMCCC_CTRL,
                                        .attr = LINUX_KVM_ARM_VM_SMCCC_FILTER,
                                        .addr = (uintptr_t)&filter};
    if (ioctl(machine->vm, KVM_SET_DEVICE_ATTR, &attribute) < 0) guest = GUEST_STORES;
  }
#endif
  machine->exit = guests[guest].exit;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  machine->memory_size = (room + page) / page * page;
  void *memory = mmap(NULL, machine->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return -errno;
  madvise(memory, machine->memory_size, MADV_NOHUGEPAGE);
  machine->memory = memory;
  memcpy(memory, guests[guest].code, guests[guest].size);
  struct kvm_userspace_memory_region region = {
      .guest_phys_addr = GUEST_ADDRESS, .memory_size = machine->memory_size, .userspace_addr = (uintptr_t)memory};
  if (ioctl(machine->vm, KVM_SET_USER_MEMORY_REGION, &region) < 0) return -errno;

  if ((machine->vcpu = ioctl(machine->vm, KVM_CREATE_VCPU, 0)) < 0) return -errno;
#if defined(__aarch64__)
  struct linux_vcpu_init init;
  if (ioctl(machine->vm, LINUX_KVM_ARM_PREFERRED_TARGET, &init) < 0) return -errno;
  init.features[0] |= 1u << LINUX_KVM_ARM_VCPU_PSCI_0_2;
  if (ioctl(machine->vcpu, LINUX_KVM_ARM_VCPU_INIT, &init) < 0) return -errno;
#endif
  uint64_t pc = GUEST_ADDRESS;
  struct kvm_one_reg one = {.id = REGISTER_PC, .addr = (uintptr_t)&pc};
  if (ioctl(machine->vcpu, LINUX_KVM_SET_ONE_REG, &one) < 0) return -errno;

  int size = ioctl(machine->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
  if (size < 0) return -errno;
  machine->run_size = (size_t)size;
  void *run = mmap(NULL, machine->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, machine->vcpu, 0);
  if (run == MAP_FAILED) return -errno;
  machine->run = run;
  return 0;
}

long machine_open(struct machine *machine, enum machine_guest guest, size_t room) {
  *machine = (struct machine){0};
  if ((machine->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC)) < 0) return -errno;
  long result = machine_make(machine, guest, room);
  if (result < 0) machine_close(machine);
  return result;
}

// A copy that the compiler cannot remove.
static inline void copy(void *to, const void *from, size_t bytes) {
  memcpy(to, from, bytes);
  __asm__ volatile("" : : "r"(to) : "memory");
}

static long calls(const struct machine *machine, enum baseline_work work, size_t bytes, int file, unsigned char *buffer,
                  int64_t *marks, long count) {
  unsigned char *data = machine->memory;
  marks[0] = now();
  switch (work) {
  case BASELINE_NOTHING:
    for (long i = 1; i <= count; i++) {
      CHECK(machine_call(machine));
      marks[i] = now();
    }
    break;
  case BASELINE_COPY:
    for (long i = 1; i <= count; i++) {
      CHECK(machine_call(machine));
      copy(buffer, data, bytes);
      copy(data, buffer, bytes);
      marks[i] = now();
    }
    break;
  case BASELINE_RANDOM:
    data += 64;
    for (long i = 1; i <= count; i++) {
      CHECK(machine_call(machine));
      CHECK(linux_getrandom(data, bytes));
      marks[i] = now();
    }
    break;
  case BASELINE_WRITE:
    for (long i = 1; i <= count; i++) {
      CHECK(machine_call(machine));
      CHECK(linux_write(file, data, bytes));
      marks[i] = now();
    }
    break;
  case BASELINE_ECHO:
    for (long i = 1; i <= count; i++) {
      CHECK(machine_call(machine));
      copy(buffer, data, bytes);
      CHECK(machine_call(machine));
      copy(data, buffer, bytes);
      marks[i] = now();
    }
    break;
  }
  return 0;
}

long baseline_calls(enum baseline_exit exit, enum baseline_work work, size_t bytes, int file, int64_t *marks, long count) {
  struct machine machine;
  CHECK(machine_open(&machine, exit == BASELINE_EXIT_STORE ? GUEST_STORES : GUEST_CALLS, bytes));
  unsigned char *buffer = malloc(bytes + 1);
  long result = buffer ? calls(&machine, work, bytes, file, buffer, marks, count) : -ENOMEM;
  free(buffer);
  machine_close(&machine);
  return result;
}

static long forwards(const struct machine *machine, int socket, const void *request, size_t bytes, char *buffer,
                     int64_t *marks, long count) {
  unsigned char *data = machine->memory + REQUEST_OFFSET;
  memcpy(data, request, bytes);
  marks[0] = now();
  for (long i = 1; i <= count; i++) {
    CHECK(machine_call(machine));
    copy(buffer, data, bytes);
    CHECK(linux_write(socket, buffer, bytes));
    long size = linux_read(socket, buffer, REQUEST_ROOM);
    CHECK(size);
    CHECK(machine_call(machine));
    copy(data + REQUEST_ROOM, buffer, (size_t)size);
    marks[i] = now();
  }
  return 0;
}

long baseline_forward(int socket, const void *request, size_t bytes, int64_t *marks, long count) {
  struct machine machine;
  char buffer[REQUEST_ROOM];
  if (bytes > sizeof buffer) return -EINVAL;
  CHECK(machine_open(&machine, GUEST_CALLS, REQUEST_OFFSET + 2 * REQUEST_ROOM));
  long result = forwards(&machine, socket, request, bytes, buffer, marks, count);
  machine_close(&machine);
  return result;
}

enum { MOST_COPIES = 8 };

static long turns(const struct machine *machines, int copies, int64_t *marks, long count) {
  marks[0] = now();
  for (long turn = 1; turn <= count; turn++) {
    for (int i = 0; i < copies; i++) CHECK(machine_call(&machines[i]));
    marks[turn] = now();
  }
  return 0;
}

long baseline_copies(int copies, int64_t *marks, long count) {
  struct machine machines[MOST_COPIES] = {0};
  long result = copies > MOST_COPIES ? -EINVAL : 0;
  for (int i = 0; result == 0 && i < copies; i++) result = machine_open(&machines[i], GUEST_CALLS, 0);
  if (result == 0) result = turns(machines, copies, marks, count);
  for (int i = 0; i < MOST_COPIES; i++) machine_close(&machines[i]);
  return result;
}

static long open_in_stages(struct machine *machine, int64_t *marks) {
  marks[0] = now();
  if ((machine->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC)) < 0) return -errno;
  marks[1] = now();
  CHECK(machine_make(machine, GUEST_CALLS, 0));
  marks[2] = now();
  CHECK(machine_call(machine));
  marks[3] = now();
  return 0;
}

long baseline_open(int64_t marks[BASELINE_STAGES + 1]) {
  struct machine machine = {0};
  long result = open_in_stages(&machine, marks);
  machine_close(&machine);
  marks[4] = now();
  return result;
}

static struct machine *held;
static int held_count;

long baseline_hold(int count) {
  baseline_release();
  held = calloc((size_t)count, sizeof *held);
  if (!held) return -ENOMEM;
  for (; held_count < count; held_count++) {
    CHECK(machine_open(&held[held_count], GUEST_CALLS, 0));
    long result = machine_call(&held[held_count]);
    if (result < 0) {
      machine_close(&held[held_count]);
      return result;
    }
  }
  return 0;
}

void baseline_release(void) {
  while (held_count > 0) machine_close(&held[--held_count]);
  free(held);
  held = NULL;
}

#else

long baseline_calls(enum baseline_exit exit, enum baseline_work work, size_t bytes, int file, int64_t *marks, long count) {
  (void)exit, (void)work, (void)bytes, (void)file, (void)marks, (void)count;
  return -ENOSYS;
}
long baseline_forward(int socket, const void *request, size_t bytes, int64_t *marks, long count) {
  (void)socket, (void)request, (void)bytes, (void)marks, (void)count;
  return -ENOSYS;
}
long baseline_copies(int copies, int64_t *marks, long count) {
  (void)copies, (void)marks, (void)count;
  return -ENOSYS;
}
long baseline_open(int64_t marks[BASELINE_STAGES + 1]) {
  (void)marks;
  return -ENOSYS;
}
long baseline_hold(int count) {
  (void)count;
  return -ENOSYS;
}
void baseline_release(void) {}

#endif

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
// Reads clocks without a system call. The kernel maps a small shared object into every process, the vDSO, whose
// functions read the clock in user mode (vdso(7)). The C library finds them with the object's hash table; musl 1.2.5
// supports only one format, and the arm64 kernel's object has the other one since Linux 6.12, so this file does the
// lookup itself. A system call would take ten times as long, for each guest that gets the time.
#include <elf.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "CLinux.h"

#if defined(__aarch64__)
#define CLOCK_FUNCTION "__kernel_clock_gettime"
#else
#define CLOCK_FUNCTION "__vdso_clock_gettime"
#endif

// Contents of the object's dynamic section (System V ABI, "Dynamic Section"; for the GNU hash table, which it does not
// describe, binutils' bfd/elflink.c, `bfd_elf_size_dynsym_hash_dynstr`).
struct object {
  const Elf64_Sym *symbols;
  const char *strings;
  const uint32_t *hash;
};

static uintptr_t find(const struct object *object, uintptr_t bias) {
  uint32_t hash = 5381;
  for (const char *c = CLOCK_FUNCTION; *c; c++) hash = hash * 33 + (unsigned char)*c;
  // Number of buckets, index of the first symbol, number of 64-bit words in a filter, which is not used; then filter,
  // buckets, chains.
  const uint32_t *table = object->hash, *buckets = table + 4 + 2 * table[2], *chains = buckets + table[0];
  uint32_t index = table[0] ? buckets[hash % table[0]] : 0;
  if (index < table[1]) return 0;
  for (;; index++) {
    uint32_t other = chains[index - table[1]];
    const Elf64_Sym *symbol = &object->symbols[index];
    if ((other | 1) == (hash | 1) && strcmp(object->strings + symbol->st_name, CLOCK_FUNCTION) == 0)
      return bias + symbol->st_value;
    if (other & 1) return 0; // the last of its chain
  }
}

static uintptr_t find_clock(void) {
  // The object is the kernel's, and is not checked.
  uintptr_t base = getauxval(AT_SYSINFO_EHDR);
  if (!base) return 0;
  const Elf64_Ehdr *header = (const void *)base;
  const Elf64_Phdr *part = (const void *)(base + header->e_phoff);
  const Elf64_Dyn *entry = NULL;
  uintptr_t bias = 0;
  for (int i = 0; i < header->e_phnum; i++, part++) {
    if (part->p_type == PT_LOAD) bias = base + part->p_offset - part->p_vaddr;
    if (part->p_type == PT_DYNAMIC) entry = (const void *)(base + part->p_offset);
  }
  struct object object = {0};
  for (; entry && entry->d_tag != DT_NULL; entry++) {
    const void *address = (const void *)(bias + entry->d_un.d_ptr);
    if (entry->d_tag == DT_SYMTAB) object.symbols = address;
    if (entry->d_tag == DT_STRTAB) object.strings = address;
    if (entry->d_tag == DT_GNU_HASH) object.hash = address;
  }
  return object.symbols && object.strings && object.hash ? find(&object, bias) : 0;
}

static int look_first(clockid_t clock, struct timespec *now);
// Threads that do the lookup at the same time get the same result, so no ordering is needed.
static int (*clock_function)(clockid_t, struct timespec *) = look_first;

static int look_first(clockid_t clock, struct timespec *now) {
  uintptr_t found = find_clock();
  int (*function)(clockid_t, struct timespec *) = found ? (int (*)(clockid_t, struct timespec *))found : clock_gettime;
  __atomic_store_n(&clock_function, function, __ATOMIC_RELAXED);
  return function(clock, now);
}

int64_t linux_clock(clockid_t clock) {
  struct timespec now;
  __atomic_load_n(&clock_function, __ATOMIC_RELAXED)(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t linux_clock_once(clockid_t clock) {
  bool is_found = __atomic_load_n(&clock_function, __ATOMIC_RELAXED) != look_first;
  return is_found ? linux_clock(clock) : linux_clock_of(clock);
}

int linux_clock_needs_calls(clockid_t clock) {
  // Found before: the child can do nothing else.
  linux_clock(clock);
  pid_t pid = fork();
  if (pid == 0) {
    // The call kills the process (seccomp(2)). Not in strict mode: a process that has a filter, as in a container, cannot
    // change to it.
    struct sock_filter filter[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_clock_gettime, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof filter[0], filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) < 0) _exit(2);
    linux_clock(clock);
    _exit(0);
  }
  int status;
  if (pid < 0 || waitpid(pid, &status, 0) < 0) return -1;
  return WIFSIGNALED(status) ? 1 : WEXITSTATUS(status) == 0 ? 0 : -1;
}

// pthread_getcpuclockid(3) without a pthread_t: the kernel's CPUCLOCK_SCHED (2) of a thread (4).
int32_t linux_thread_clock(void) { return (int32_t)(~(uint32_t)linux_thread_id() << 3 | 6); }

int64_t linux_clock_of(int32_t clock) {
  struct timespec now;
  return syscall(SYS_clock_gettime, clock, &now) < 0 ? -1 : (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

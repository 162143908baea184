#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
// The clock without a system call. The kernel maps a small shared object into every process, the vDSO, whose functions
// read the clock in user mode (vdso(7)). The C library finds them by the object's hash table; musl 1.2.5 knows the one format
// of it, and the arm64 kernel's object has the other since Linux 6.12, so this file looks by itself. A system call costs
// ten times as much, and each guest that asks for the time would pay it.
#include <elf.h>
#include <sys/auxv.h>

#include "CLinux.h"

#if defined(__aarch64__)
#define CLOCK_FUNCTION "__kernel_clock_gettime"
#else
#define CLOCK_FUNCTION "__vdso_clock_gettime"
#endif

// What the object's dynamic section tells (System V ABI, "Dynamic Section"; the GNU hash table has no page of its own there:
// binutils' bfd/elflink.c, `bfd_elf_size_dynsym_hash_dynstr`).
struct object {
  const Elf64_Sym *symbols;
  const char *strings;
  const uint32_t *hash;
};

static uintptr_t find(const struct object *object, uintptr_t bias) {
  uint32_t hash = 5381;
  for (const char *c = CLOCK_FUNCTION; *c; c++) hash = hash * 33 + (unsigned char)*c;
  // Number of buckets, first symbol in the table, words of 64 bits in a filter that is passed by; then filter, buckets, chains.
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
  // The kernel's own object: what it says of itself is right.
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
// Threads that look at the same time find the same, so no order is needed between them.
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

// pthread_getcpuclockid(3), without the thread's handle: the kernel's CPUCLOCK_SCHED (2) of one thread (4).
int32_t linux_thread_clock(void) { return (int32_t)(~(uint32_t)linux_thread_id() << 3 | 6); }

int64_t linux_clock_of(int32_t clock) {
  struct timespec now;
  return clock_gettime(clock, &now) < 0 ? -1 : (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

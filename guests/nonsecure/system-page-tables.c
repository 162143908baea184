/* Turns to page tables of its own that do not map its code. The argument says what they are: "empty", "nowhere" (at an address without
 * memory), or "wild" (they map the code to an address without memory). */
#include "applet.h"

static uint64_t tables[512] __attribute__((aligned(4096)));

static void turn_to(uint64_t root) {
#if defined(__aarch64__)
  __asm__ volatile("msr ttbr0_el1, %0\n\tisb\n\ttlbi vmalle1\n\tdsb nsh\n\tisb" : : "r"(root) : "memory");
#elif defined(__riscv)
  __asm__ volatile("csrw satp, %0\n\tsfence.vma" : : "r"(8ul << 60 | root >> 12) : "memory");
#endif
}

/* An entry for 1 GiB of code and data at its virtual address. */
static uint64_t block(uint64_t address) {
#if defined(__aarch64__)
  return address | 0x701; /* accessed, shareable, normal memory (MAIR's attribute 0) */
#elif defined(__riscv)
  return address >> 12 << 10 | 0xcf;
#endif
}

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  const char *kind = argument(&arguments, 1);
  uint64_t code = (uint64_t)main >> 30;
  print("system-page-tables: %s\n", kind);
  if (text_after(kind, "nowhere")) turn_to(0x40000000);
  if (text_after(kind, "wild")) tables[code] = block(0x40000000);
  turn_to((uint64_t)tables);
  return 0;
}

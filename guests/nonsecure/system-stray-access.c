/* Reads, writes or jumps to an address without memory; with "off" it first disables the MMU, so that KVM handles the access
 * instead of the page tables. Arguments: read, write or jump, or odd-read, odd-write or misaligned for instructions that KVM does
 * not emulate; then off; then the address. */
#include "probe.h"

static void mmu_off(void) {
#if defined(__aarch64__)
  uint64_t control;
  __asm__("mrs %0, sctlr_el1" : "=r"(control));
  __asm__ volatile("msr sctlr_el1, %0\n\tisb" : : "r"(control & ~1ul) : "memory");
#elif defined(__riscv)
  __asm__ volatile("csrw satp, zero\n\tsfence.vma" : : : "memory");
#endif
}

/* LDP; LR.D. */
static void load_odd(uint64_t address) {
  uint64_t first, second;
#if defined(__aarch64__)
  __asm__ volatile("ldp %0, %1, [%2]" : "=&r"(first), "=&r"(second) : "r"(address) : "memory");
#elif defined(__riscv)
  __asm__ volatile("lr.d %0, (%2)" : "=&r"(first), "=&r"(second) : "r"(address) : "memory");
#endif
}

/* STP; AMOADD.D. */
static void store_odd(uint64_t address) {
#if defined(__aarch64__)
  __asm__ volatile("stp %0, %0, [%0]" : : "r"(address) : "memory");
#elif defined(__riscv)
  __asm__ volatile("amoadd.d zero, %0, (%0)" : : "r"(address) : "memory");
#endif
}

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  const char *how = argument(&arguments, 1) ? argument(&arguments, 1) : "read";
  const char *where = argument(&arguments, 3);
  uint64_t address = where ? number_from(where) : 0x40000000;
  print("system-stray-access: %s at 0x%lx\n", how, address);
  if (text_after(argument(&arguments, 2), "off")) {
    mmu_off();
  }
  if (text_after(how, "write")) {
    store(address, 0x1234);
  } else if (text_after(how, "odd-read")) {
    load_odd(address);
  } else if (text_after(how, "odd-write")) {
    store_odd(address);
  } else if (text_after(how, "misaligned")) {
    load(address + 1);
  } else if (text_after(how, "jump")) {
    jump(address);
  } else {
    load(address);
  }
  panic("something is there");
}

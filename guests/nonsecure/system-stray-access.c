/* Reads, writes or jumps where nothing is; or switches the MMU off before it does, so that KVM sees it in place of the page
 * tables. Arguments: read, write or jump; then off; then the address. */
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
  } else if (text_after(how, "jump")) {
    jump(address);
  } else {
    load(address);
  }
  panic("something is there");
}

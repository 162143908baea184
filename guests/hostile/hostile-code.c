/* Tries to have instructions of its own making run (argument: which way, 0 to 5): in its text, in variables, on the stack, in
 * the heap, in a page that it reaches by a jump that it may make, in the device tree. Each must end it. */
#include "probe.h"

static uint32_t variable[4] __attribute__((aligned(64)));

/* Makes written instructions visible to fetches, if an applet can: on arm64 it may not. */
static void synchronize(void) {
#if defined(__riscv)
  __asm__ volatile("fence.i" : : : "memory");
#endif
}

static void plant(uint64_t address) {
  print("hostile-code: at %p\n", (void *)address);
  *(volatile uint32_t *)address = RETURN_INSTRUCTION;
  synchronize();
  jump(address);
}

int main(void) {
  uint32_t local[4];
  struct applet_region heap = region_of_use(APPLET_USE_HEAP), tree = region_of_use(APPLET_USE_DEVICE_TREE);
  switch (argument_number(1, 0)) {
    case 0: plant((uint64_t)main & ~3ull); break;
    case 1: plant((uint64_t)variable); break;
    case 2: plant((uint64_t)local); break;
    case 3: plant(heap.start); break;
    case 4: plant(heap.start + heap.length - 16); break;
    default: plant(tree.start); break;
  }
  panic("code of its own has run");
}

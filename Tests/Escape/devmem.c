// In a Linux guest: reads, through /dev/mem, an address where the machine has nothing, with an instruction that KVM does not
// emulate. The kernel ends it with a signal; the machine must go on.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

int main(void) {
  int file = open("/dev/mem", O_RDWR | O_SYNC);
  const char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0x3000000);
  if (page == MAP_FAILED) return perror("devmem"), 1;
  uint64_t first = 0, second = 0;
#if defined(__aarch64__)
  __asm__ volatile("ldp %0, %1, [%2]" : "=&r"(first), "=&r"(second) : "r"(page) : "memory");
#else
  __asm__ volatile("lr.d %0, (%1)" : "=&r"(first) : "r"(page) : "memory");
#endif
  printf("devmem: read %lx %lx\n", (unsigned long)first, (unsigned long)second);
  return 0;
}

/* Loops on as many CPUs as its argument says (1). */
#include "firmware.h"

#define MOST 8

static char stacks[MOST][4096] __attribute__((aligned(64)));

static void spin(uint64_t number) {
  for (;;) {
    __asm__ volatile("" : : "r"(number));
  }
}

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  uint64_t count = argument(&arguments, 1) ? number_from(argument(&arguments, 1)) : 1;
  for (uint64_t number = 1; number < count && number < MOST; number++) {
    if (processor_start(number, spin, number, stacks[number] + sizeof stacks[number]) != 0) {
      panic("processor %lu does not start", number);
    }
  }
  print("system-loop: spinning\n");
  for (;;) {
  }
}

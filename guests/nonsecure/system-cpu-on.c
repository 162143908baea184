/* Starts all other CPUs, each of which adds its number to a sum, makes a call, and waits. The first CPU shuts the system down
 * when all have done that. */
#include "firmware.h"

#define MOST 64
#define STACK 4096

static char stacks[MOST][STACK] __attribute__((aligned(64)));
static uint64_t sum, arrived;

static void body(uint64_t number) {
  if (applet_nanotime() <= 0) {
    panic("no time on processor %lu", number);
  }
  if (number == 1) {
    print("system-cpu-on: hello from the second\n");
  }
  __atomic_add_fetch(&sum, number, __ATOMIC_RELAXED);
  __atomic_add_fetch(&arrived, 1, __ATOMIC_RELEASE);
}

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  uint64_t count = argument(&arguments, 1) ? number_from(argument(&arguments, 1)) : 2;
  for (uint64_t number = 1; number < count && number < MOST; number++) {
    int64_t result = processor_start(number, body, number, stacks[number] + STACK);
    if (result != 0) {
      panic("processor %lu does not start: %ld", number, result);
    }
    if (number == 1 && processor_start(1, body, 1, stacks[0] + STACK) >= 0) {
      panic("processor 1 starts twice");
    }
  }
  int64_t refused = processor_start(1000, body, 0, stacks[0] + STACK);
  if (refused >= 0) {
    panic("there is a processor 1000");
  }
  while (__atomic_load_n(&arrived, __ATOMIC_ACQUIRE) != count - 1) {
  }
  print("system-cpu-on: %lu processors, sum %lu\n", count, sum);
  machine_off();
  panic("still on");
}

/* Two CPUs make calls by block. They and an optional third one concurrently change both blocks and the buffers that they point to
 * (arguments: seed, number of calls). Whatever the outcome, every possible value is one that the monitor must accept. */
#include "firmware.h"
#include "rpc.h"

static char stacks[2][4096] __attribute__((aligned(64)));
static struct applet_block blocks[2] __attribute__((aligned(32)));
static uint8_t room[1 << 15];
/* By block it could become any request, and an invalid one ends the program, so this call is made by registers. */
static char request[] = RPC_ECHO("1");
static volatile uint64_t changes;
static uint64_t seed;
static volatile int is_over;

static uint64_t next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* A call that neither waits nor ends the program. Its buffer is valid for every combination of address and length. */
static void change(uint64_t *state, volatile struct applet_block *call) {
  static const uint64_t numbers[] = {APPLET_CALL_NANOTIME,  APPLET_CALL_GETRANDOM, APPLET_CALL_RPC_RESPONSE,
                                     APPLET_CALL_WRITE,     APPLET_CALL_READ,      APPLET_CALL_YIELD,
                                     APPLET_CALL_ARGUMENTS, 0x777,                 ~0ull};
  call->number = numbers[next(state) % (sizeof numbers / sizeof numbers[0])];
  call->arguments[0] = (uint64_t)room + next(state) % (sizeof room / 2);
  call->arguments[1] = next(state) % (sizeof room / 2);
  room[next(state) % sizeof room] = 0;
  *(volatile char *)&request[sizeof request - 4] = (char)('0' + next(state) % 10); /* its id */
  changes++;
}

static void take(uint64_t number) {
  if (applet_call(APPLET_CALL_BLOCK, (uint64_t)&blocks[number], 0, 0) != 0) {
    panic("no block");
  }
}

static void race(uint64_t number) {
  uint64_t state = (seed + number) * 0x9e3779b97f4a7c15ull + 1;
  if (number == 1) {
    change(&state, &blocks[1]);
    take(1);
  }
  while (!is_over) {
    change(&state, &blocks[next(&state) % 2]);
    if (number == 1) {
      change(&state, &blocks[1]);
      applet_call(APPLET_CALL_BY_BLOCK, 0, 0, 0);
    }
  }
}

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  seed = argument(&arguments, 1) ? number_from(argument(&arguments, 1)) : 1;
  uint64_t count = argument(&arguments, 2) ? number_from(argument(&arguments, 2)) : 1000;
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  change(&state, &blocks[0]);
  take(0);
  if (processor_start(1, race, 1, stacks[0] + sizeof stacks[0]) != 0) {
    panic("processor 1 does not start");
  }
  processor_start(2, race, 2, stacks[1] + sizeof stacks[1]);
  while (changes < 2) {
  }
  for (uint64_t i = 0; i < count; i++) {
          /* The result of the last call replaces the number, and 0 would be exit. */
    change(&state, &blocks[0]);
    applet_call(APPLET_CALL_BY_BLOCK, 0, 0, 0);
    applet_call(APPLET_CALL_RPC_REQUEST, (uint64_t)request, sizeof request - 1, 0);
  }
  is_over = 1;
  print("\ncalls: %lu\n", count);
  machine_off();
  panic("still on");
}

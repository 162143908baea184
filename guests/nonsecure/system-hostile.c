/* Makes random calls of the monitor and the firmware, by registers and by block, and in between writes at random to all of its
 * memory, including its code, page tables and the block (arguments: seed, number of calls). It nearly always crashes before it is
 * done. */
#include "firmware.h"
#include "rpc.h"

static struct applet_block block __attribute__((aligned(32)));
static uint8_t room[1 << 15];

static uint64_t next(uint64_t *state) {
  *state ^= *state << 13;
  *state ^= *state >> 7;
  *state ^= *state << 17;
  return *state;
}

/* A number that is likely to expose a wrong check. */
static uint64_t odd(uint64_t *state) {
  static const uint64_t bounds[] = {0, 0x7000f000, 0x80000000, 0x80fff000, 0x81000000, 1ull << 32, 1ull << 63, ~0ull};
  uint64_t bound = bounds[next(state) % (sizeof bounds / sizeof bounds[0])];
  switch (next(state) % 3) {
    case 0: return bound + next(state) % 64 - 32;
    case 1: return (uint64_t)room + next(state) % (2 * sizeof room);
    default: return next(state);
  }
}

/* A call that neither ends the program without an error nor waits forever. */
static uint64_t number(uint64_t *state) {
  for (;;) {
    uint64_t found = next(state) % 4 == 0 ? odd(state) : next(state) % 8 + (next(state) & 1) * 0x100;
    if ((uint32_t)found != APPLET_CALL_EXIT && (uint32_t)found != APPLET_CALL_SLEEP &&
        (uint32_t)found != APPLET_CALL_EXIT_STATUS) {
      return found;
    }
  }
}

/* Calls of the firmware that neither shut the system down nor wait. */
static void ask_firmware(uint64_t *state) {
#if defined(__aarch64__)
  static const uint32_t functions[] = {0x84000000, 0xc4000004, 0x8400000a, 0xc4000003, 0x80000000, 0x84000007, 0xc6000000};
  psci(functions[next(state) % (sizeof functions / sizeof functions[0])], odd(state), odd(state), odd(state));
#elif defined(__riscv)
  static const uint32_t extensions[] = {SBI_BASE, SBI_DBCN, 0x735049, 0x52464e43, 1, 2, 0x0a000000, 0x09000000};
  sbi(extensions[next(state) % (sizeof extensions / sizeof extensions[0])], next(state) % 8, odd(state), odd(state), odd(state));
#endif
}

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  uint64_t seed = argument(&arguments, 1) ? number_from(argument(&arguments, 1)) : 1;
  uint64_t count = argument(&arguments, 2) ? number_from(argument(&arguments, 2)) : 1000;
  uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
  if (applet_call(APPLET_CALL_BLOCK, (uint64_t)&block, 0, 0) != 0) {
    panic("no block");
  }
  print("calls: %lu\n", count);
  for (uint64_t i = 0; i < count; i++) {
    volatile struct applet_block *call = &block;
    switch (next(&state) % 5) {
      case 0: applet_call(APPLET_CALL_WRITE, (uint64_t)room + next(&state) % 4096, next(&state) % 16, odd(&state)); break;
      case 1:
        call->number = APPLET_CALL_GETRANDOM;
        call->arguments[0] = (uint64_t)room + next(&state) % 4096;
        call->arguments[1] = next(&state) % 4096;
        applet_call(APPLET_CALL_BY_BLOCK, odd(&state), odd(&state), odd(&state));
        break;
      case 2: ask_firmware(&state); break;
      case 3: {
        static const char request[] = RPC_ECHO("1");
        applet_call(APPLET_CALL_RPC_REQUEST, (uint64_t)request, sizeof request - 1, odd(&state));
        applet_call(APPLET_CALL_RPC_RESPONSE, (uint64_t)room + next(&state) % 4096, next(&state) % 4096, odd(&state));
        break;
      }
      default: applet_call(APPLET_CALL_BLOCK, next(&state) % 8 ? odd(&state) : (uint64_t)&block, 0, 0); break;
    }
  }
  for (uint64_t i = 0; i < count; i++) {
    volatile struct applet_block *call = &block;
    call->number = number(&state);
    for (int word = 0; word < 3; word++) {
      call->arguments[word] = odd(&state);
    }
    applet_call(next(&state) % 2 ? APPLET_CALL_BY_BLOCK : number(&state), odd(&state), odd(&state), odd(&state));
        /* The image, the tree, the page tables, the stack: all of its first MiB, or anything. */
    *(volatile uint64_t *)(0x80000000 + next(&state) % (next(&state) % 2 ? 1 << 17 : 1 << 24) / 8 * 8) = odd(&state);
  }
  return 0;
}

/* Each of its CPUs, three by default, does forever what the first argument says: one call, a wait, or a loop. The second argument is
 * the number of CPUs. */
#include "firmware.h"

#define MOST 8
#define STACK 4096

static char stacks[MOST][STACK] __attribute__((aligned(64)));
static char lines[65536];
static char requests[65536];
static size_t requests_size;
static struct applet_region heap;
static const char *what;

static void once(uint64_t number) {
  char argument_bytes[64];
  struct applet_region region;
  if (text_after(what, "write")) {
    applet_write(lines, sizeof lines);
  } else if (text_after(what, "character")) {
    applet_put_character(lines[number]);
  } else if (text_after(what, "read")) {
    applet_read(stacks[number], 1);
  } else if (text_after(what, "random")) {
    applet_getrandom((void *)heap.start, heap.length);
  } else if (text_after(what, "rpc")) {
    applet_rpc_request(requests, requests_size);
  } else if (text_after(what, "response")) {
    applet_rpc_response(argument_bytes, sizeof argument_bytes);
  } else if (text_after(what, "sleep")) {
    applet_sleep(3600000000000);
  } else if (text_after(what, "yield")) {
    applet_yield();
  } else if (text_after(what, "time")) {
    applet_nanotime();
  } else if (text_after(what, "counter")) {
    applet_counter();
  } else if (text_after(what, "region")) {
    applet_region(0, &region);
  } else if (text_after(what, "arguments")) {
    applet_arguments(argument_bytes, sizeof argument_bytes);
  } else if (text_after(what, "secure")) {
    applet_secure(1, number);
  } else if (text_after(what, "unknown")) {
    applet_call(7, 0, 0, 0);
  } else if (text_after(what, "idle")) {
    __asm__ volatile("wfi");
  }
}

static void body(uint64_t number) {
  for (;;) {
    once(number);
    __asm__ volatile("" : : : "memory");
  }
}

int main(const void *tree) {
  static const char request[] = "{\"method\":\"S.m\",\"params\":[0]}";
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  what = argument(&arguments, 1) ? argument(&arguments, 1) : "spin";
  uint64_t count = argument(&arguments, 2) ? number_from(argument(&arguments, 2)) : 3;
  heap = region_of_use(APPLET_USE_HEAP);
  for (size_t i = 0; i < sizeof lines; i++) {
    lines[i] = i % 64 == 63 ? '\n' : '.';
  }
  for (; requests_size + sizeof request < sizeof requests; requests_size += sizeof request - 1) {
    memcpy(requests + requests_size, request, sizeof request - 1);
  }
  for (uint64_t number = 1; number < count && number < MOST; number++) {
    if (processor_start(number, body, number, stacks[number] + STACK) != 0) {
      panic("processor %lu does not start", number);
    }
  }
  body(0);
  return 0;
}

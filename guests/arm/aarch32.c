/* A 32-bit applet that does what GoTEE's applets for arm and Go's runtime in them do: it sets its own stack pointer at the end of
 * 16 MiB, uses all memory up to it, calls with r0 to r2 and takes results from r0 and r1, and reads the time from the generic timer.
 * Its argument makes it fault. */
#include "aarch32.h"

enum { NOWHERE = 0x20000000 };

static int equal(const char *text, const char *other) {
  while (*text && *text == *other) {
    text++;
    other++;
  }
  return *text == *other;
}

static uint32_t frequency(void) {
  uint32_t value;
  __asm__ volatile("mrc p15, 0, %0, c14, c0, 0" : "=r"(value));
  return value;
}

static uint64_t physical_count(void) {
  uint32_t low, high;
  __asm__ volatile("mrrc p15, 0, %0, %1, c14" : "=r"(low), "=r"(high));
  return (uint64_t)high << 32 | low;
}

static uint64_t virtual_count(void) {
  uint32_t low, high;
  __asm__ volatile("mrrc p15, 1, %0, %1, c14" : "=r"(low), "=r"(high));
  return (uint64_t)high << 32 | low;
}

/* The count, where the condition holds; all ones otherwise. */
static uint64_t count_if(int holds) {
  uint32_t low = ~0u, high = ~0u;
  __asm__ volatile("cmp %2, #0\n itt ne\n mrrcne p15, 0, %0, %1, c14\n addne %2, %2, #0"
                   : "+r"(low), "+r"(high), "+r"(holds)
                   :
                   : "cc");
  return (uint64_t)high << 32 | low;
}

/* A call must preserve r2 to r11 and all registers of VFP. */
static int preserves_registers(void) {
  static uint64_t before[32], after[32];
  static uint32_t general[10];
  for (uint32_t i = 0; i < 32; i++) {
    before[i] = 0x0101010101010101 * (i + 1);
  }
  register uint64_t *r0 __asm__("r0") = before, *r1 __asm__("r1") = after;
  register uint32_t *r2 __asm__("r2") = general;
  __asm__ volatile(
      "push {r0-r12, lr}\n"
      "vldmia r0!, {d0-d15}\n vldmia r0, {d16-d31}\n"
      "push {r1, r2}\n"
      "mov r0, %3\n mov r2, #2\n mov r3, #3\n mov r4, #4\n mov r5, #5\n mov r6, #6\n mov r7, #7\n mov r8, #8\n"
      "mov r9, #9\n mov r10, #10\n mov r11, #11\n mov r12, #12\n mov lr, #14\n"
      "svc 0\n"
      "pop {r0, r1}\n"
      "vstmia r0!, {d0-d15}\n vstmia r0, {d16-d31}\n"
      "stmia r1!, {r2-r11}\n"
      "pop {r0-r12, lr}\n"
      :
      : "r"(r0), "r"(r1), "r"(r2), "I"(APPLET_CALL_NANOTIME)
      : "memory", "d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9", "d10", "d11", "d12", "d13", "d14", "d15",
        "d16", "d17", "d18", "d19", "d20", "d21", "d22", "d23", "d24", "d25", "d26", "d27", "d28", "d29", "d30", "d31");
  for (uint32_t i = 0; i < 32; i++) {
    if (before[i] != after[i] || (i < 10 && general[i] != i + 2)) {
      return 0;
    }
  }
  return 1;
}

/* All memory between the image and the stack is there, in one piece. */
static int uses_heap(void) {
  extern uint8_t _end[];
  volatile uint32_t *first = (volatile uint32_t *)(((uintptr_t)_end + 3) & ~3u);
  volatile uint32_t *last = (volatile uint32_t *)(RAM_END - STACK - 4);
  *first = 0x12345678;
  *last = 0x9abcdef0;
  return *first == 0x12345678 && *last == 0x9abcdef0;
}

static int passes_time(void) {
  uint64_t time = call(APPLET_CALL_NANOTIME, 0, 0), start = physical_count();
  uint64_t wait = frequency() / 100;
  if (wait == 0 || virtual_count() < start || count_if(0) != ~0ull || count_if(1) < start) {
    return 0;
  }
  while (physical_count() - start < wait) {
  }
  return call(APPLET_CALL_NANOTIME, 0, 0) - time >= 10 * 1000 * 1000;
}

static int gets_random(void) {
  static uint8_t bytes[16];
  call(APPLET_CALL_GETRANDOM, (uintptr_t)bytes, sizeof bytes);
  uint8_t any = 0;
  for (unsigned i = 0; i < sizeof bytes; i++) {
    any |= bytes[i];
  }
  return any != 0;
}

static int echoes(void) {
  static const char request[] = "{\"method\":\"RPC.Echo\",\"params\":[\"hello\"],\"id\":0}\n";
  static char response[128];
  call(APPLET_CALL_RPC_REQUEST, (uintptr_t)request, sizeof request - 1);
  uint64_t length = call(APPLET_CALL_RPC_RESPONSE, (uintptr_t)response, sizeof response - 1);
  return length < sizeof response && equal(response, "{\"id\":0,\"result\":\"hello\",\"error\":null}\n");
}

static int multiplies(void) {
  volatile double a = 1.5, b = -4;
  return a * b == -6;
}

static void fault(const char *name) {
  if (equal(name, "read")) {
    (void)*(volatile uint32_t *)NOWHERE;
  } else if (equal(name, "write")) {
    *(volatile uint32_t *)NOWHERE = 1;
  } else if (equal(name, "jump")) {
    ((void (*)(void))NOWHERE)();
  } else if (equal(name, "undefined")) {
    __asm__ volatile("udf #0");
  } else if (equal(name, "privileged")) {
    __asm__ volatile("mcr p15, 0, %0, c1, c0, 0" : : "r"(0)); /* SCTLR */
  } else if (equal(name, "breakpoint")) {
    __asm__ volatile("bkpt #0");
  } else if (equal(name, "wait")) {
    __asm__ volatile("wfi");
  } else if (equal(name, "unknown")) {
    call(0x7777, 0, 0);
  } else if (equal(name, "spin")) {
    for (;;) {
      __asm__ volatile("");
    }
  }
  check(0, name);
}

static void run(void) {
  static char arguments[64];
  call(APPLET_CALL_ARGUMENTS, (uintptr_t)arguments, sizeof arguments - 1);
  const char *argument = arguments;
  while (*argument) {
    argument++;
  }
  if (argument[1]) {
    fault(argument + 1);
  }
  check(multiplies(), "floating point");
  check(preserves_registers(), "registers");
  check(uses_heap(), "heap");
  check(gets_random(), "random");
  check(echoes(), "rpc");
  check(passes_time(), "time");
  call(APPLET_CALL_EXIT, 0, 0);
}

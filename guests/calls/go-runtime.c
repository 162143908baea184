/* Does what TamaGo's runtime does in an applet of GoTEE's: its stack is the last 64 KiB below the stack pointer that it gets, its heap
 * all memory from its variables up to there. It sleeps by asking for the time of day again and again, on riscv64 by
 * reading mtime too, and exits by call 0 with
 * leftovers in the other registers. Like an image that Go's linker made it has a note with a build ID, which asks for a contiguous
 * layout. */
#include "rpc.h"

__asm__(".pushsection .note.swiftlet, \"ax\", %note\n"
        "  .long 4, 8, 4\n"
        "  .ascii \"Go\\0\\0build id\"\n"
        ".popsection");

#define STACK_SIZE 0x10000
#define ARENA_SIZE (4 << 20)

extern char _end[] __attribute__((visibility("hidden"))); /* end of the variables, from the linker script */

static uint64_t stack_end(void) {
  /* Memory ends at a multiple of 64 KiB, and main is not far below it. */
  uint64_t here = (uint64_t)__builtin_frame_address(0);
  return (here + STACK_SIZE - 1) & -(uint64_t)STACK_SIZE;
}

/* Memory must be zero and writable; what was written must be there again. */
static void use(uint64_t address) {
  volatile uint64_t *word = (volatile uint64_t *)address;
  if (*word != 0) panic("0x%lx is 0x%lx at the start", address, *word);
  *word = ~address;
  if (*word != ~address) panic("0x%lx is not kept", address);
}

#if defined(__riscv)
/* mtime of a CLINT, which Go loads atomically; it counts microseconds. */
static int64_t mtime(void) {
  int64_t value;
  __asm__ volatile("lr.d %0, (%1)" : "=r"(value) : "r"(0x0200bff8));
  return value;
}
#endif

static void sleep_busily(int64_t nanoseconds) {
#if defined(__riscv)
  int64_t start = mtime();
  while (mtime() < start + nanoseconds / 2000) {
  }
  nanoseconds /= 2;
#endif
  int64_t end = applet_nanotime() + nanoseconds;
  while (applet_nanotime() < end) {
  }
}

int main(void) {
  uint64_t start = ((uint64_t)_end + 0xfff) & ~0xffful, end = stack_end() - STACK_SIZE;
  if (end < start + ARENA_SIZE) panic("no heap from 0x%lx to 0x%lx", start, end);
  for (uint64_t at = start; at < end; at += ARENA_SIZE / 4) use(at);
  use(end - 8);
  print("go-runtime: one heap up to the stack\n");
  applet_call(APPLET_CALL_PUT_CHARACTER, 0xabcdef00 | '+', 0, 0);
  applet_put_character('\n');

  unsigned char *random = (unsigned char *)end - 32;
  applet_getrandom(random, 16);
  unsigned values = 0;
  for (int i = 0; i < 16; i++) values += random[i] != 0;
  print("go-runtime: random bytes %s\n", values > 4 ? "come" : "are zero");

  static const char request[] = RPC_ECHO("0");
  for (int i = 0; i < 2; i++) {
    applet_rpc_request(request, sizeof request - 1);
    char response[128];
    rpc_receive(response, sizeof response, sizeof response);
    print("go-runtime: %s\n", response);
  }

  volatile double half = 0.5;
  for (int second = 1; second <= 3; second++) {
    sleep_busily(5000000);
    print("go-runtime: %u mississippi\n", (unsigned)(half * 2 * second));
  }
  applet_call(APPLET_CALL_EXIT, '\n', 77, 0);
  panic("came back from exit");
}

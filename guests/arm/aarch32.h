/* What 32-bit applets have in common: the note of Go's linker, which asks for a contiguous layout, calls, and text. */
#ifndef AARCH32_H
#define AARCH32_H

#include "applet_abi.h"

__asm__(".pushsection .note.go.buildid, \"a\", %note\n"
        "  .long 4, 8, 4\n"
        "  .ascii \"Go\\0\\0build id\"\n"
        ".popsection");

enum { RAM_END = 0x11000000, STACK = 64 << 10 };

static uint64_t call(uint32_t number, uint32_t first, uint32_t second) {
  register uint32_t r0 __asm__("r0") = number, r1 __asm__("r1") = first, r2 __asm__("r2") = second;
  __asm__ volatile("svc 0" : "+r"(r0), "+r"(r1) : "r"(r2) : "memory");
  return (uint64_t)r1 << 32 | r0;
}

static void print(const char *text) {
  for (; *text; text++) {
    call(APPLET_CALL_PUT_CHARACTER, (uint8_t)*text, 0);
  }
}

static void check(int holds, const char *what) {
  print("aarch32: ");
  print(what);
  print(holds ? "\n" : " failed\n");
  if (!holds) {
    __asm__ volatile("udf #1");
  }
}

__attribute__((used)) static void run(void);

/* Sets its own stack pointer, as TamaGo does. */
__attribute__((naked, noreturn)) void _start(void) {
  __asm__ volatile("ldr sp, =%c0\n bl run\n udf #2\n .ltorg" : : "i"(RAM_END - 0x100));
}

#endif

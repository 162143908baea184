/* The first instructions of an applet: relocate, set the thread pointer, and continue in start.c.
 *
 * The monitor starts it with the stack pointer at the end of the stack and zeroed variables. x0 (arm64) or a1 (riscv64), the
 * address of a device tree, is passed on.
 *
 * The applet has one thread. Its thread-local variables are at the end of the stack, aligned to 64 bytes: their addresses are
 * relative to the thread pointer, which is 64 bytes before them on arm64 and their address on riscv64.
 *
 * Only a position-independent image has relocations, all of type RELATIVE: the image's address plus an addend is stored at an
 * offset from that address. Any other type is an error of the build, and ends in a breakpoint. */
#include "applet_abi.h"

  .section .text.start, "ax", %progbits
  .globl _start
  .type _start, %function
  .hidden image_start
  .hidden relocations_start
  .hidden relocations_end
  .hidden tls_image_start
  .hidden tls_image_end
  .hidden tls_end
  .hidden start

#if defined(__aarch64__)
#define R_AARCH64_RELATIVE 1027
_start:
#ifdef SYSTEM_MODE
  mrs x1, currentel /* started as an applet, it ends here, and the monitor says why */
#endif
  mov x29, xzr /* end of the frame chain */
  mov x30, xzr
  adrp x1, relocations_start
  add x1, x1, :lo12:relocations_start
  adrp x2, relocations_end
  add x2, x2, :lo12:relocations_end
  adrp x3, image_start
  add x3, x3, :lo12:image_start
1:
  cmp x1, x2
  b.eq 2f
  ldp x4, x5, [x1], #16 /* offset, kind */
  ldr x6, [x1], #8      /* addend */
  cmp x5, #R_AARCH64_RELATIVE
  b.ne 3f
  add x6, x6, x3
  str x6, [x3, x4]
  b 1b
2:
  adrp x1, tls_image_start
  add x1, x1, :lo12:tls_image_start
  adrp x2, tls_image_end
  add x2, x2, :lo12:tls_image_end
  adrp x3, tls_end
  add x3, x3, :lo12:tls_end
  sub x3, x1, x3
  add x3, sp, x3
  and sp, x3, #~63
  sub x3, sp, #64
  msr tpidr_el0, x3
  mov x3, sp
4:
  cmp x1, x2
  b.hs 5f
  ldrb w4, [x1], #1
  strb w4, [x3], #1
  b 4b
5:
  bl __applet_start
3:
  brk #1

#elif defined(__riscv)
#define R_RISCV_RELATIVE 3
_start:
#ifdef SYSTEM_MODE
  csrr zero, sstatus /* started as an applet, it ends here, and the monitor says why */
#endif
  mv s0, zero /* end of the frame chain */
  mv ra, zero
  .option push
  .option norelax
  lla gp, __global_pointer$
  .option pop
  mv a0, a1
  lla a2, relocations_start
  lla a3, relocations_end
  lla a4, image_start
  li t0, R_RISCV_RELATIVE
1:
  beq a2, a3, 2f
  ld a5, 0(a2)  /* offset */
  ld a6, 8(a2)  /* kind */
  ld a7, 16(a2) /* addend */
  addi a2, a2, 24
  bne a6, t0, 3f
  add a5, a5, a4
  add a7, a7, a4
  sd a7, 0(a5)
  j 1b
2:
  lla a2, tls_image_start
  lla a3, tls_image_end
  lla a4, tls_end
  sub a4, a2, a4
  add sp, sp, a4
  andi sp, sp, -64
  mv tp, sp
  mv a4, sp
4:
  bgeu a2, a3, 5f
  lbu a5, 0(a2)
  sb a5, 0(a4)
  addi a2, a2, 1
  addi a4, a4, 1
  j 4b
5:
  call __applet_start
3:
  ebreak

#else
#error "an applet runs on arm64 or riscv64"
#endif
  .size _start, . - _start

/* Says which version of the ABI the image is built for. Executable like the text, so that it needs no segment of its own. */
  .section .note.swiftlet, "ax", %note
#if defined(__riscv)
  .option norelax /* the linker would take .balign for that of instructions */
#endif
  .balign 4
  .long 2f - 1f, 4f - 3f, APPLET_NOTE_ABI
1:
  .asciz APPLET_NOTE_OWNER
2:
  .balign 4
3:
  .long APPLET_ABI_MAJOR, APPLET_ABI_MINOR
4:

/* The first instructions of an applet: relocate, call main, exit with its result.
 *
 * The monitor enters with the stack pointer at the top of the stack and variables already zero. What it may leave in
 * x0 (arm64) and a1 (riscv64), a device tree's address, is handed on as main's first argument.
 *
 * Only a position-independent image has relocations, all of the kind RELATIVE: the image's address plus an addend,
 * stored at an offset from it. Any other kind is a mistake of the build, and a breakpoint. */
  .section .text.start, "ax", %progbits
  .globl _start
  .type _start, %function
  .hidden image_start
  .hidden relocations_start
  .hidden relocations_end
  .hidden exit

#if defined(__aarch64__)
#define R_AARCH64_RELATIVE 1027
_start:
  mov x29, xzr /* the end of the chain of frames */
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
  bl main
  bl exit
3:
  brk #1

#elif defined(__riscv)
#define R_RISCV_RELATIVE 3
_start:
  mv s0, zero /* the end of the chain of frames */
  mv ra, zero
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
  call main
  call exit
3:
  ebreak

#else
#error "an applet runs on arm64 or riscv64"
#endif
  .size _start, . - _start

/* Copies of this applet in lockstep differ in one place alone, where the monitor answers them differently. Each round it
 * asks call 0x500 what to do, leaves no trace of the answer but the one it stands for, and writes a byte:
 *   0 nothing, 1 another floating-point register (d8, fs0), 2 another byte to be written, 3 spin for ever, 4 a breakpoint,
 *   5 the write from another place, 6 another general register (x20, s4), 7 the end of the applet, with status 0. */
#include "applet_abi.h"

  .text
  .globl main
main:
#if defined(__aarch64__)
  adrp x19, byte
  add x19, x19, :lo12:byte
again:
  mov x0, #0x500
  mov x1, #0
  mov x2, #0
  svc #0
  mov x9, x0
  mov x0, #0
  cmp x9, #1
  b.eq floating
  cmp x9, #2
  b.eq memory
  cmp x9, #3
  b.eq .
  cmp x9, #4
  b.eq fault
  cmp x9, #5
  b.eq elsewhere
  cmp x9, #6
  b.eq general
  cmp x9, #7
  b.eq end
join:
  mov x9, #0
  cmp x9, x9
  mov x0, #APPLET_CALL_WRITE
  mov x1, x19
  mov x2, #1
  svc #0
  b again
elsewhere:
  mov x9, #0
  cmp x9, x9
  mov x0, #APPLET_CALL_WRITE
  mov x1, x19
  mov x2, #1
  svc #0
  b again
floating:
  fmov d8, x9
  b join
memory:
  mov w9, #'!'
  strb w9, [x19]
  b join
general:
  mov x20, x9
  b join
fault:
  brk #0
end:
  mov x0, #APPLET_CALL_EXIT
  mov x1, #0
  svc #0
#else
  lla s3, byte
again:
  li a0, 0x500
  li a1, 0
  li a2, 0
  ecall
  mv t0, a0
  li a0, 0
  li t1, 1
  beq t0, t1, floating
  li t1, 2
  beq t0, t1, memory
  li t1, 3
  beq t0, t1, .
  li t1, 4
  beq t0, t1, fault
  li t1, 5
  beq t0, t1, elsewhere
  li t1, 6
  beq t0, t1, general
  li t1, 7
  beq t0, t1, end
join:
  li t0, 0
  li t1, 0
  li a0, APPLET_CALL_WRITE
  mv a1, s3
  li a2, 1
  ecall
  j again
elsewhere:
  li t0, 0
  li t1, 0
  li a0, APPLET_CALL_WRITE
  mv a1, s3
  li a2, 1
  ecall
  j again
floating:
  fmv.d.x fs0, t0
  j join
memory:
  li t1, '!'
  sb t1, 0(s3)
  j join
general:
  mv s4, t0
  j join
fault:
  ebreak
end:
  li a0, APPLET_CALL_EXIT
  li a1, 0
  ecall
#endif

  .data
byte:
  .byte '.'

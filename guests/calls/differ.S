/* Copies of this applet in lockstep diverge at one point only, where the monitor answers them differently. In each round the
 * result of call 0x500 selects an action, leaves no other trace, and a byte is written:
 *   0 nothing, 1 another floating-point register (d8, fs0), 2 another byte to be written, 3 an endless loop, 4 a breakpoint,
 *   5 the write from another address, 6 another general register (x20, s4), 7 exit with status 0. */
#include "applet_abi.h"

  .text
  .globl main
main:
#if defined(__aarch64__)
  adrp x19, byte
  add x19, x19, :lo12:byte
  mov x20, #0
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
  svc #0
#else
  lla s3, byte
  li s4, 0
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
  ecall
#endif

  .data
byte:
  .byte '.'

/* setjmp and longjmp: the registers that a function must preserve, and the floating-point ones among them. */
  .section .text.setjmp, "ax", %progbits
  .globl setjmp
  .globl longjmp
  .type setjmp, %function
  .type longjmp, %function

#if defined(__aarch64__)
setjmp:
  stp x19, x20, [x0]
  stp x21, x22, [x0, #16]
  stp x23, x24, [x0, #32]
  stp x25, x26, [x0, #48]
  stp x27, x28, [x0, #64]
  stp x29, x30, [x0, #80]
  mov x1, sp
  str x1, [x0, #96]
  stp d8, d9, [x0, #104]
  stp d10, d11, [x0, #120]
  stp d12, d13, [x0, #136]
  stp d14, d15, [x0, #152]
  mov w0, #0
  ret
longjmp:
  ldp x19, x20, [x0]
  ldp x21, x22, [x0, #16]
  ldp x23, x24, [x0, #32]
  ldp x25, x26, [x0, #48]
  ldp x27, x28, [x0, #64]
  ldp x29, x30, [x0, #80]
  ldr x2, [x0, #96]
  mov sp, x2
  ldp d8, d9, [x0, #104]
  ldp d10, d11, [x0, #120]
  ldp d12, d13, [x0, #136]
  ldp d14, d15, [x0, #152]
  cmp w1, #0
  csinc w0, w1, wzr, ne /* 0 becomes 1 */
  ret

#elif defined(__riscv)
  .macro each integer, float
  \integer ra, 0(a0)
  \integer sp, 8(a0)
  .set at, 16
  .irp register, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11
  \integer \register, at(a0)
  .set at, at + 8
  .endr
  .irp register, fs0, fs1, fs2, fs3, fs4, fs5, fs6, fs7, fs8, fs9, fs10, fs11
  \float \register, at(a0)
  .set at, at + 8
  .endr
  .endm
setjmp:
  each sd, fsd
  li a0, 0
  ret
longjmp:
  each ld, fld
  seqz a0, a1 /* 0 becomes 1 */
  add a0, a0, a1
  ret
#endif
  .size setjmp, longjmp - setjmp
  .size longjmp, . - longjmp

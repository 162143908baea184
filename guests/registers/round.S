/* registers_round of registers.h. Around the call only the stack pointer is known: it points at the address of `after`. The other
 * callee-saved registers are in the frame, each at its own number. */
#include "registers.h"

#define FROM_11_TO_31 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
#define ALL 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, FROM_11_TO_31

  .text
  .globl registers_round
  .type registers_round, %function
registers_round:

#if defined(__aarch64__)
#define CALLERS 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
#define FROM_1_TO_30 \
  1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
#define FRAME (8 * 32 + 8 * 16)
#define FRAME_D (8 * 32)
  sub sp, sp, #FRAME
  .irp n, CALLERS
  str x\n, [sp, #8 * \n]
  .endr
  .irp n, 8, 9, 10, 11, 12, 13, 14, 15
  str d\n, [sp, #FRAME_D + 8 * \n]
  .endr
  str x1, [sp]
  mrs x2, fpcr
  str x2, [sp, #8]

  mov x2, sp
  str x2, [x0, #8 * STACK_REGISTER]
  ldr x2, [x0, #AT_CONTROL]
  msr fpcr, x2
  ldr x2, [x0, #AT_STATUS]
  msr fpsr, x2
  .irp n, ALL
  ldr q\n, [x0, #AT_FLOATING + 16 * \n]
  .endr
  .irp n, FROM_1_TO_30, 0
  ldr x\n, [x0, #8 * \n]
  .endr
  svc #0

  str x0, [sp, #16] /* space for the address */
  ldr x0, [sp]
  .irp n, FROM_1_TO_30
  str x\n, [x0, #8 * \n]
  .endr
  ldr x1, [sp, #16]
  str x1, [x0, #8 * CALL_REGISTER]
  mov x1, sp
  str x1, [x0, #8 * STACK_REGISTER]
  .irp n, ALL
  str q\n, [x0, #AT_FLOATING + 16 * \n]
  .endr
  mrs x1, fpcr
  str x1, [x0, #AT_CONTROL]
  mrs x1, fpsr
  str x1, [x0, #AT_STATUS]

  ldr x2, [sp, #8]
  msr fpcr, x2
  .irp n, 8, 9, 10, 11, 12, 13, 14, 15
  ldr d\n, [sp, #FRAME_D + 8 * \n]
  .endr
  .irp n, CALLERS
  ldr x\n, [sp, #8 * \n]
  .endr
  add sp, sp, #FRAME
  ret

#elif defined(__riscv)
#define CALLERS 1, 3, 4, 8, 9, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27
#define ALL_BUT_0_2_10 1, 3, 4, 5, 6, 7, 8, 9, FROM_11_TO_31
#define FRAME (8 * 32)
  addi sp, sp, -FRAME
  .irp n, CALLERS
  sd x\n, 8 * \n(sp)
  .endr
  sd a1, 0(sp)
  frcsr t0
  sd t0, 8 * 5(sp)

  sd sp, 8 * STACK_REGISTER(a0)
  ld t0, AT_CONTROL(a0)
  /* QEMU does not set FS to dirty for a write of fcsr alone, and a host that preempts the guest right after it would lose the
     value. Loading a register before and after sets it. */
  fld f0, AT_FLOATING(a0)
  fscsr t0
  .irp n, ALL
  fld f\n, AT_FLOATING + 8 * \n(a0)
  .endr
  .irp n, ALL_BUT_0_2_10, 10
  ld x\n, 8 * \n(a0)
  .endr
  ecall

  sd a0, 8 * 6(sp) /* space for the address */
  ld a0, 0(sp)
  .irp n, 2, ALL_BUT_0_2_10
  sd x\n, 8 * \n(a0)
  .endr
  ld t0, 8 * 6(sp)
  sd t0, 8 * CALL_REGISTER(a0)
  .irp n, ALL
  fsd f\n, AT_FLOATING + 8 * \n(a0)
  .endr
  frcsr t0
  sd t0, AT_CONTROL(a0)
  sd zero, AT_STATUS(a0)

  ld t0, 8 * 5(sp)
  fscsr t0
  .irp n, CALLERS
  ld x\n, 8 * \n(sp)
  .endr
  addi sp, sp, FRAME
  ret
#endif
  .size registers_round, . - registers_round

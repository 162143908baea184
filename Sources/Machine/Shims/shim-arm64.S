// The shim of secure contexts on arm64: it runs in EL1, saves an applet's registers at each exception and leaves the guest.
// VBAR_EL1 points at its start, SP_EL1 at the trap frame. tools/shims writes its machine code into ARM64Shim.swift.
#include "applet_abi.h"
#define WORD(index) ((index) * 8)

  .macro vector offset, target
  .org \offset
  b \target
  .endm

  .text
  .org 0
  // From EL1 itself: a defect of the shim, or an invalid frame.
  vector 0x000, broken
  vector 0x080, broken
  vector 0x100, broken
  vector 0x180, broken
  vector 0x200, broken
  vector 0x280, broken
  vector 0x300, broken
  vector 0x380, broken
  // From the applet, EL0: every exception saves all its registers in the frame.
  .org 0x400
from_user:
  stp x0, x1, [sp, #WORD(0)]
  stp x2, x3, [sp, #WORD(2)]
  stp x4, x5, [sp, #WORD(4)]
  stp x6, x7, [sp, #WORD(6)]
  stp x8, x9, [sp, #WORD(8)]
  stp x10, x11, [sp, #WORD(10)]
  stp x12, x13, [sp, #WORD(12)]
  stp x14, x15, [sp, #WORD(14)]
  stp x16, x17, [sp, #WORD(16)]
  stp x18, x19, [sp, #WORD(18)]
  stp x20, x21, [sp, #WORD(20)]
  stp x22, x23, [sp, #WORD(22)]
  stp x24, x25, [sp, #WORD(24)]
  stp x26, x27, [sp, #WORD(26)]
  stp x28, x29, [sp, #WORD(28)]
  mrs x0, sp_el0
  stp x30, x0, [sp, #WORD(30)]
  mrs x0, elr_el1
  mrs x1, spsr_el1
  stp x0, x1, [sp, #WORD(APPLET_FRAME_PC)]
  mrs x0, esr_el1
  mrs x1, far_el1
  stp x0, x1, [sp, #WORD(APPLET_FRAME_CAUSE)]
  ldp x1, x2, [sp, #WORD(APPLET_FRAME_ON_EXIT)] // x2: the doorbell
  cbnz x1, watch_floating_point
leave:
  mov x0, #APPLET_SHIM_EXIT
leave_call:
  hvc #0  // with the MMIO transport, `doorbell` is here
  b resume
  vector 0x480, broken // applets run with interrupts masked
  vector 0x500, broken
  vector 0x580, 0x400 // SError: its syndrome identifies it
  // From an applet in AArch32. R0 to R14 are in x0 to x14, of which the upper halves may hold anything.
  .org 0x600
from_aarch32:
  .irp register, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
  mov w\register, w\register
  .endr
  b from_user
  vector 0x680, broken
  vector 0x700, broken
  vector 0x780, from_aarch32

  .org 0x800
// Where a vCPU starts, and where it continues after each exit. Unless the frame requests more, only the registers that the exit
// changed are loaded from it; the applet's other registers, PC and PSTATE are unchanged.
resume:
  ldr x1, [sp, #WORD(APPLET_FRAME_ON_ENTRY)]
  cbnz x1, prepare
  ldp x1, x2, [sp, #WORD(1)]
  ldr x0, [sp, #WORD(0)]
  eret

// The rare work of an entry, requested by the frame. The monitor can have any of it repeated from `resume` on: a request is
// cleared only when it is done.
prepare:
  tbz x1, #0, 1f // APPLET_ENTRY_FENCE
  dsb ishst
  tlbi vmalle1is
  ic ialluis
  dsb ish
  isb
1:
  tbz x1, #1, restore // APPLET_ENTRY_FP
  ldp q0, q1, [sp, #WORD(APPLET_FRAME_FP + 0)]
  ldp q2, q3, [sp, #WORD(APPLET_FRAME_FP + 4)]
  ldp q4, q5, [sp, #WORD(APPLET_FRAME_FP + 8)]
  ldp q6, q7, [sp, #WORD(APPLET_FRAME_FP + 12)]
  ldp q8, q9, [sp, #WORD(APPLET_FRAME_FP + 16)]
  ldp q10, q11, [sp, #WORD(APPLET_FRAME_FP + 20)]
  ldp q12, q13, [sp, #WORD(APPLET_FRAME_FP + 24)]
  ldp q14, q15, [sp, #WORD(APPLET_FRAME_FP + 28)]
  ldp q16, q17, [sp, #WORD(APPLET_FRAME_FP + 32)]
  ldp q18, q19, [sp, #WORD(APPLET_FRAME_FP + 36)]
  ldp q20, q21, [sp, #WORD(APPLET_FRAME_FP + 40)]
  ldp q22, q23, [sp, #WORD(APPLET_FRAME_FP + 44)]
  ldp q24, q25, [sp, #WORD(APPLET_FRAME_FP + 48)]
  ldp q26, q27, [sp, #WORD(APPLET_FRAME_FP + 52)]
  ldp q28, q29, [sp, #WORD(APPLET_FRAME_FP + 56)]
  ldp q30, q31, [sp, #WORD(APPLET_FRAME_FP + 60)]
  ldp x0, x1, [sp, #WORD(APPLET_FRAME_FP_CONTROL)]
  msr fpcr, x0
  msr fpsr, x1
restore:
  str xzr, [sp, #WORD(APPLET_FRAME_ON_ENTRY)]
  ldp x0, x1, [sp, #WORD(APPLET_FRAME_PC)]
  msr elr_el1, x0
  msr spsr_el1, x1
  ldp x30, x0, [sp, #WORD(30)]
  msr sp_el0, x0
  ldp x28, x29, [sp, #WORD(28)]
  ldp x26, x27, [sp, #WORD(26)]
  ldp x24, x25, [sp, #WORD(24)]
  ldp x22, x23, [sp, #WORD(22)]
  ldp x20, x21, [sp, #WORD(20)]
  ldp x18, x19, [sp, #WORD(18)]
  ldp x16, x17, [sp, #WORD(16)]
  ldp x14, x15, [sp, #WORD(14)]
  ldp x12, x13, [sp, #WORD(12)]
  ldp x10, x11, [sp, #WORD(10)]
  ldp x8, x9, [sp, #WORD(8)]
  ldp x6, x7, [sp, #WORD(6)]
  ldp x4, x5, [sp, #WORD(4)]
  ldp x2, x3, [sp, #WORD(2)]
  ldp x0, x1, [sp, #WORD(0)]
  eret
// The applet's first floating-point instruction since the last exit traps. Only after one are there registers to save.
watch_floating_point: // may change only x0 to x2, since the next entry loads no others
  mrs x0, esr_el1
  lsr x0, x0, #26
  cmp x0, #0x07 // EC: trapped floating-point or SIMD access
  b.eq allow_floating_point
  mov x1, #APPLET_EXIT_WATCH
  mrs x0, cpacr_el1
  tbnz x0, #21, save_floating_point // FPEN is 0b11
  str x1, [sp, #WORD(APPLET_FRAME_ON_EXIT)]
  b leave
allow_floating_point:
  mov x0, #0b11 << 20
  msr cpacr_el1, x0
  b restore
save_floating_point:
  stp q0, q1, [sp, #WORD(APPLET_FRAME_FP + 0)]
  stp q2, q3, [sp, #WORD(APPLET_FRAME_FP + 4)]
  stp q4, q5, [sp, #WORD(APPLET_FRAME_FP + 8)]
  stp q6, q7, [sp, #WORD(APPLET_FRAME_FP + 12)]
  stp q8, q9, [sp, #WORD(APPLET_FRAME_FP + 16)]
  stp q10, q11, [sp, #WORD(APPLET_FRAME_FP + 20)]
  stp q12, q13, [sp, #WORD(APPLET_FRAME_FP + 24)]
  stp q14, q15, [sp, #WORD(APPLET_FRAME_FP + 28)]
  stp q16, q17, [sp, #WORD(APPLET_FRAME_FP + 32)]
  stp q18, q19, [sp, #WORD(APPLET_FRAME_FP + 36)]
  stp q20, q21, [sp, #WORD(APPLET_FRAME_FP + 40)]
  stp q22, q23, [sp, #WORD(APPLET_FRAME_FP + 44)]
  stp q24, q25, [sp, #WORD(APPLET_FRAME_FP + 48)]
  stp q26, q27, [sp, #WORD(APPLET_FRAME_FP + 52)]
  stp q28, q29, [sp, #WORD(APPLET_FRAME_FP + 56)]
  stp q30, q31, [sp, #WORD(APPLET_FRAME_FP + 60)]
  mrs x0, fpcr
  mrs x1, fpsr
  stp x0, x1, [sp, #WORD(APPLET_FRAME_FP_CONTROL)]
  mov x0, #0b01 << 20
  msr cpacr_el1, x0
  mov x0, #APPLET_EXIT_WATCH | APPLET_EXIT_SAVED
  str x0, [sp, #WORD(APPLET_FRAME_ON_EXIT)]
  b leave
broken:
  mov x0, #APPLET_SHIM_FAULT
  hvc #0
  b broken

  .section .doorbell, "ax"
  str w0, [x2]

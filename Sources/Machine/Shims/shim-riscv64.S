// The shim of secure contexts on riscv64: it runs in VS mode, saves an applet's registers at each exception and leaves the
// guest. stvec points at its start; sscratch holds the trap frame's address while the applet runs. tools/shims writes its
// machine code into RISCV64Shim.swift.
#include "applet_abi.h"
#define WORD(index) ((index) * 8)

  .text
  .option norvc
trap:
  csrrw tp, sscratch, tp
  sd x1, WORD(1)(tp)
  sd x2, WORD(2)(tp)
  sd x3, WORD(3)(tp)
  sd x5, WORD(5)(tp)
  sd x6, WORD(6)(tp)
  sd x7, WORD(7)(tp)
  sd x8, WORD(8)(tp)
  sd x9, WORD(9)(tp)
  sd x10, WORD(10)(tp)
  sd x11, WORD(11)(tp)
  sd x12, WORD(12)(tp)
  sd x13, WORD(13)(tp)
  sd x14, WORD(14)(tp)
  sd x15, WORD(15)(tp)
  sd x16, WORD(16)(tp)
  sd x17, WORD(17)(tp)
  sd x18, WORD(18)(tp)
  sd x19, WORD(19)(tp)
  sd x20, WORD(20)(tp)
  sd x21, WORD(21)(tp)
  sd x22, WORD(22)(tp)
  sd x23, WORD(23)(tp)
  sd x24, WORD(24)(tp)
  sd x25, WORD(25)(tp)
  sd x26, WORD(26)(tp)
  sd x27, WORD(27)(tp)
  sd x28, WORD(28)(tp)
  sd x29, WORD(29)(tp)
  sd x30, WORD(30)(tp)
  sd x31, WORD(31)(tp)
  csrr a7, sscratch
  sd a7, WORD(4)(tp)
  csrr a7, sepc
  sd a7, WORD(APPLET_FRAME_PC)(tp)
  csrr a7, sstatus
  sd a7, WORD(APPLET_FRAME_STATUS)(tp)
  csrr a7, scause
  sd a7, WORD(APPLET_FRAME_CAUSE)(tp)
  csrr a7, stval
  sd a7, WORD(APPLET_FRAME_ADDRESS)(tp)
  ld a7, WORD(APPLET_FRAME_ON_EXIT)(tp)
  bnez a7, watch_floating_point
leave:
  li a7, APPLET_SBI_EXTENSION
leave_call:
  ecall
// Where a vCPU starts, and where it continues after each exit; tp is the frame's address. Unless the frame requests more, only
// PC and the registers that the exit changed are loaded from it; the applet's others are unchanged, with its tp in sscratch.
resume:
  ld a7, WORD(APPLET_FRAME_ON_ENTRY)(tp)
  bnez a7, prepare
  ld a7, WORD(APPLET_FRAME_PC)(tp)
  csrw sepc, a7
  ld a0, WORD(10)(tp) // a0 and a1 have SBI's return values
  ld a1, WORD(11)(tp)
  ld a7, WORD(17)(tp)
  csrrw tp, sscratch, tp
  sret

// The rare work of an entry, requested by the frame. The monitor can have any of it repeated from `resume` on: a request is
// cleared only when it is done.
prepare:
  andi t1, a7, APPLET_ENTRY_FENCE
  beqz t1, 1f
  sfence.vma
  fence.i
1:
  andi t1, a7, APPLET_ENTRY_FP
  beqz t1, restore
  fld f0, WORD(APPLET_FRAME_FP + 0)(tp)
  fld f1, WORD(APPLET_FRAME_FP + 1)(tp)
  fld f2, WORD(APPLET_FRAME_FP + 2)(tp)
  fld f3, WORD(APPLET_FRAME_FP + 3)(tp)
  fld f4, WORD(APPLET_FRAME_FP + 4)(tp)
  fld f5, WORD(APPLET_FRAME_FP + 5)(tp)
  fld f6, WORD(APPLET_FRAME_FP + 6)(tp)
  fld f7, WORD(APPLET_FRAME_FP + 7)(tp)
  fld f8, WORD(APPLET_FRAME_FP + 8)(tp)
  fld f9, WORD(APPLET_FRAME_FP + 9)(tp)
  fld f10, WORD(APPLET_FRAME_FP + 10)(tp)
  fld f11, WORD(APPLET_FRAME_FP + 11)(tp)
  fld f12, WORD(APPLET_FRAME_FP + 12)(tp)
  fld f13, WORD(APPLET_FRAME_FP + 13)(tp)
  fld f14, WORD(APPLET_FRAME_FP + 14)(tp)
  fld f15, WORD(APPLET_FRAME_FP + 15)(tp)
  fld f16, WORD(APPLET_FRAME_FP + 16)(tp)
  fld f17, WORD(APPLET_FRAME_FP + 17)(tp)
  fld f18, WORD(APPLET_FRAME_FP + 18)(tp)
  fld f19, WORD(APPLET_FRAME_FP + 19)(tp)
  fld f20, WORD(APPLET_FRAME_FP + 20)(tp)
  fld f21, WORD(APPLET_FRAME_FP + 21)(tp)
  fld f22, WORD(APPLET_FRAME_FP + 22)(tp)
  fld f23, WORD(APPLET_FRAME_FP + 23)(tp)
  fld f24, WORD(APPLET_FRAME_FP + 24)(tp)
  fld f25, WORD(APPLET_FRAME_FP + 25)(tp)
  fld f26, WORD(APPLET_FRAME_FP + 26)(tp)
  fld f27, WORD(APPLET_FRAME_FP + 27)(tp)
  fld f28, WORD(APPLET_FRAME_FP + 28)(tp)
  fld f29, WORD(APPLET_FRAME_FP + 29)(tp)
  fld f30, WORD(APPLET_FRAME_FP + 30)(tp)
  fld f31, WORD(APPLET_FRAME_FP + 31)(tp)
  ld t0, WORD(APPLET_FRAME_FP_CONTROL)(tp)
  fscsr t0
restore:
  sd zero, WORD(APPLET_FRAME_ON_ENTRY)(tp)
  ld t0, WORD(APPLET_FRAME_PC)(tp)
  csrw sepc, t0
  ld t0, WORD(4)(tp)
  csrw sscratch, t0
  ld x1, WORD(1)(tp)
  ld x2, WORD(2)(tp)
  ld x3, WORD(3)(tp)
  ld x5, WORD(5)(tp)
  ld x6, WORD(6)(tp)
  ld x7, WORD(7)(tp)
  ld x8, WORD(8)(tp)
  ld x9, WORD(9)(tp)
  ld x10, WORD(10)(tp)
  ld x11, WORD(11)(tp)
  ld x12, WORD(12)(tp)
  ld x13, WORD(13)(tp)
  ld x14, WORD(14)(tp)
  ld x15, WORD(15)(tp)
  ld x16, WORD(16)(tp)
  ld x17, WORD(17)(tp)
  ld x18, WORD(18)(tp)
  ld x19, WORD(19)(tp)
  ld x20, WORD(20)(tp)
  ld x21, WORD(21)(tp)
  ld x22, WORD(22)(tp)
  ld x23, WORD(23)(tp)
  ld x24, WORD(24)(tp)
  ld x25, WORD(25)(tp)
  ld x26, WORD(26)(tp)
  ld x27, WORD(27)(tp)
  ld x28, WORD(28)(tp)
  ld x29, WORD(29)(tp)
  ld x30, WORD(30)(tp)
  ld x31, WORD(31)(tp)
  csrrw tp, sscratch, tp
  sret
// sstatus.FS is dirty if the applet has changed a floating-point register since the last exit. Only then are there registers to
// save.
watch_floating_point: // may change only a0, a1 and a7, since the next entry loads no others
  csrr a7, sstatus
  not a7, a7
  srli a7, a7, 13
  andi a7, a7, 3
  beqz a7, save_floating_point // FS is 0b11, dirty
  li a7, APPLET_EXIT_WATCH
  sd a7, WORD(APPLET_FRAME_ON_EXIT)(tp)
  j leave
save_floating_point:
  li a7, APPLET_EXIT_WATCH | APPLET_EXIT_SAVED
  sd a7, WORD(APPLET_FRAME_ON_EXIT)(tp)
  fsd f0, WORD(APPLET_FRAME_FP + 0)(tp)
  fsd f1, WORD(APPLET_FRAME_FP + 1)(tp)
  fsd f2, WORD(APPLET_FRAME_FP + 2)(tp)
  fsd f3, WORD(APPLET_FRAME_FP + 3)(tp)
  fsd f4, WORD(APPLET_FRAME_FP + 4)(tp)
  fsd f5, WORD(APPLET_FRAME_FP + 5)(tp)
  fsd f6, WORD(APPLET_FRAME_FP + 6)(tp)
  fsd f7, WORD(APPLET_FRAME_FP + 7)(tp)
  fsd f8, WORD(APPLET_FRAME_FP + 8)(tp)
  fsd f9, WORD(APPLET_FRAME_FP + 9)(tp)
  fsd f10, WORD(APPLET_FRAME_FP + 10)(tp)
  fsd f11, WORD(APPLET_FRAME_FP + 11)(tp)
  fsd f12, WORD(APPLET_FRAME_FP + 12)(tp)
  fsd f13, WORD(APPLET_FRAME_FP + 13)(tp)
  fsd f14, WORD(APPLET_FRAME_FP + 14)(tp)
  fsd f15, WORD(APPLET_FRAME_FP + 15)(tp)
  fsd f16, WORD(APPLET_FRAME_FP + 16)(tp)
  fsd f17, WORD(APPLET_FRAME_FP + 17)(tp)
  fsd f18, WORD(APPLET_FRAME_FP + 18)(tp)
  fsd f19, WORD(APPLET_FRAME_FP + 19)(tp)
  fsd f20, WORD(APPLET_FRAME_FP + 20)(tp)
  fsd f21, WORD(APPLET_FRAME_FP + 21)(tp)
  fsd f22, WORD(APPLET_FRAME_FP + 22)(tp)
  fsd f23, WORD(APPLET_FRAME_FP + 23)(tp)
  fsd f24, WORD(APPLET_FRAME_FP + 24)(tp)
  fsd f25, WORD(APPLET_FRAME_FP + 25)(tp)
  fsd f26, WORD(APPLET_FRAME_FP + 26)(tp)
  fsd f27, WORD(APPLET_FRAME_FP + 27)(tp)
  fsd f28, WORD(APPLET_FRAME_FP + 28)(tp)
  fsd f29, WORD(APPLET_FRAME_FP + 29)(tp)
  fsd f30, WORD(APPLET_FRAME_FP + 30)(tp)
  fsd f31, WORD(APPLET_FRAME_FP + 31)(tp)
  frcsr a7
  sd a7, WORD(APPLET_FRAME_FP_CONTROL)(tp)
  li a7, 0b01 << 13
  csrc sstatus, a7 // clean: 0b10
  j leave

/* The first instructions of another CPU, with the address of a struct start (processor.c) in x0 (arm64), a1 (riscv64). */
#ifdef SYSTEM_MODE
  .section .text.processor_entry, "ax", %progbits
  .globl processor_entry
  .hidden processor_entry
  .type processor_entry, %function
#if defined(__aarch64__)
processor_entry:
  ldp x1, x2, [x0, #24]
  msr mair_el1, x1
  msr tcr_el1, x2
  ldp x1, x2, [x0, #40]
  msr ttbr0_el1, x1
  msr vbar_el1, x2
  mov x1, #3 << 20
  msr cpacr_el1, x1
  tlbi vmalle1
  ic iallu
  dsb nsh
  isb
  ldr x1, [x0, #56]
  msr sctlr_el1, x1
  isb
  ldr x1, [x0]
  mov sp, x1
  mov x29, xzr
  ldp x1, x0, [x0, #8]
  blr x1
1:
  wfi
  b 1b
#elif defined(__riscv)
processor_entry:
  ld t0, 32(a1)
  csrw stvec, t0
  ld t0, 24(a1)
  csrw satp, t0
  sfence.vma
  li t0, 1 << 13 /* floating point in its initial state */
  csrs sstatus, t0
  .option push
  .option norelax
  lla gp, __global_pointer$
  .option pop
  ld sp, 0(a1)
  mv s0, zero
  ld a0, 16(a1)
  ld t0, 8(a1)
  jalr t0
1:
  wfi
  j 1b
#endif
  .size processor_entry, . - processor_entry
#endif

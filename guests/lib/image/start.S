/* The first instructions of an image that `swiftlet run --linux` starts: the header that Linux's boot protocols require
 * (Documentation/arch/arm64/booting.rst, Documentation/arch/riscv/boot-image-header.rst), then main(device tree, 0), with
 * the MMU off. Another CPU is started at processor_entry with its number, which is main's second argument. An exception shuts
 * the system down, and so does the end of main. */
#define STACK 4096
/* Offset of the image from the start of memory. The memory before it may be overwritten. */
#define OFFSET 0x600000

  .section .head, "ax", %progbits
  .globl image_head
  .globl processor_entry
  .hidden processor_entry
#if defined(__aarch64__)
image_head:
  b first
  .word 0
  .quad OFFSET
  .quad image_size
  .quad 0xa        /* pages of 4 KiB, anywhere in memory */
  .quad 0, 0, 0
  .ascii "ARM\x64"
  .word 0

first:
  mov x1, #0
  b 1f
processor_entry:
  mov x1, x0
  mov x0, #0
1:
  adr x2, vectors
  msr vbar_el1, x2
  isb
  adrp x2, stacks
  add x2, x2, :lo12:stacks
  add x3, x1, #1
  add x2, x2, x3, lsl #12
  mov sp, x2
  mov x29, xzr
  mov x30, xzr
  bl main
off:
  movz x0, #0x8400, lsl #16
  movk x0, #8      /* PSCI SYSTEM_OFF */
  hvc #0
  b off

  .balign 2048
vectors:
  .rept 16
  b off
  .balign 128
  .endr

#elif defined(__riscv)
image_head:
  .option push
  .option norvc
  j first
  nop
  .option pop
  .quad OFFSET
  .quad image_size
  .quad 0
  .word 2, 0
  .quad 0
  .ascii "RISCV\0\0\0"
  .ascii "RSC\x05"
  .word 0

first:
  mv a0, a1
  li a1, 0
  j 1f
processor_entry:
  li a0, 0
1:
  lla t0, off
  csrw stvec, t0
  lla sp, stacks
  addi t1, a1, 1
  slli t1, t1, 12
  add sp, sp, t1
  mv s0, zero
  call main
  .balign 4
off:
  li a7, 0x53525354 /* SBI SRST: shutdown */
  li a6, 0
  li a0, 0
  li a1, 0
  ecall
  j off
#endif

  .section .bss.stacks, "aw", %nobits
  .balign 4096
stacks:
  .space 2 * STACK

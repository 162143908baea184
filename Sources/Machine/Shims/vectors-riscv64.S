// The initial exception vector of a program in system mode on riscv64. It reports the exception to the monitor, which reads
// the registers. tools/shims writes its machine code into RISCV64Shim.swift.
#include "applet_abi.h"

  .text
  .option norvc
  csrw sscratch, a7
  li a7, APPLET_SBI_EXCEPTION
  ecall
  j .

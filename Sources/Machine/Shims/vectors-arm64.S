// One of the sixteen initial exception vectors, 0x80 bytes apart, of a program in system mode on arm64. It reports the exception
// to the monitor, which reads the registers. tools/shims writes its machine code into ARM64Shim.swift.
#include "applet_abi.h"

  .text
  msr tpidr_el1, x0
  mov x0, #APPLET_CALL_EXCEPTION
  hvc #0
  b .

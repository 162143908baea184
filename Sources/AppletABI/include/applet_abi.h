/* The interface between an applet and the monitor: everything on which both sides must agree.
 *
 * Included by the monitor (as the Swift module AppletABI), by the guest libraries in C and Swift, and by assembly
 * (under __ASSEMBLER__ only the macros are defined).
 *
 * Calls. The call number is in x0 (a0), the arguments are in x1 to x3 (a1 to a3), and the result is returned in x0 (a0).
 * All other registers are preserved. A secure applet calls with `svc #0` or `ecall`; the immediate and a7 are ignored.
 * A 32-bit applet on arm64 calls with `svc 0`, the number in r0 and arguments of 32 bits in r1 to r3; a result is in r0 (low half)
 * and r1, and a call without a result preserves both. At entry r2 holds the address of the device tree.
 * Numbers 0 to 5 have the values and meaning of GoTEE's, whose applets run unchanged. A call returns a negative errno value only where its line below
 * names it. Any other error ends the applet, including output that cannot be written and input that cannot be read.
 *
 * Entry. The stack pointer is at the end of the stack. x0 (a1; a0 is 0, the hart ID) holds the address of a flattened
 * device tree, which the applet can read. It describes the memory and contains the arguments.
 *
 * An applet that panics exits with status 134. The statuses 120 to 127 and 133 are swiftlet's own; where an applet exits with one,
 * swiftlet says so on standard error.
 *
 * Buffers must be entirely in the applet's own memory: readable where the monitor reads, writable where it writes. An empty
 * buffer may have any address. An invalid address or an unknown call number ends the applet with an error message.
 *
 * A program in system mode (EL1, VS mode: `swiftlet run --non-secure`) has the same calls with another convention:
 *   arm64    `hvc #0`. The number is the function identifier of the SMC Calling Convention (in its range of existing APIs).
 *            Arguments and result are in the same registers as an applet's, and x1 to x30 are preserved. An unknown number
 *            returns -1, NOT_SUPPORTED. On kernels before Linux 6.4, which cannot forward the calls, all of them do.
 *   riscv64  `ecall` with SBI's convention: a7 is APPLET_SBI_EXTENSION, a6 the number, a0 to a2 the arguments. On return a0
 *            is the error, 0 or SBI_ERR_NOT_SUPPORTED (-2), and a1 the result. All other registers are preserved.
 * On arm64 each register that a call uses adds a quarter of the cost of a call. A program that makes many calls registers a
 * block of its memory, a struct applet_block, once for each CPU (APPLET_CALL_BLOCK). After that, APPLET_CALL_BY_BLOCK,
 * without arguments, makes the call in the block, and the result is stored there.
 *
 * PSCI (arm64) and SBI (riscv64) are available too. At entry the MMU and caches are on, and memory and devices are identity
 * mapped. Exceptions go to the monitor's vectors, which end the program with an error, until it sets its own. Another CPU
 * that it starts begins as PSCI and SBI specify, with the MMU off.
 */
#ifndef SWIFTLET_APPLET_ABI_H
#define SWIFTLET_APPLET_ABI_H

/* Version of this interface. The major part changes when an applet built for an earlier version would not work.
 *
 * An image says with a note (APPLET_NOTE_ABI) for which version it was built; one of another major version is refused. An image
 * without the note is GoTEE's, or uses only what all versions have. In version 1, call 0 had a status and call 2 was the monotonic
 * clock. Its images have no note, but are known by their start-up code, and refused. */
#define APPLET_ABI_MAJOR 2
#define APPLET_ABI_MINOR 0

/* GoTEE's calls. */
#define APPLET_CALL_EXIT 0         /* (): ends the applet with status 0, whatever is in the other registers */
#define APPLET_CALL_PUT_CHARACTER 1 /* (character): writes the low 8 bits of the argument to the console */
#define APPLET_CALL_NANOTIME 2     /* () -> time of day: nanoseconds since 1970-01-01 00:00 UTC, a signed 64-bit number. The
                                      host's clock when the context was created plus monotonic time since, so that it never
                                      goes back in a run */
#define APPLET_CALL_GETRANDOM 3    /* (address, length): fills the buffer with random bytes from the host's kernel */
#define APPLET_CALL_RPC_REQUEST 4  /* (address, length): passes bytes of a JSON-RPC 1.0 request to the monitor */
#define APPLET_CALL_RPC_RESPONSE 5 /* (address, length) -> number of response bytes stored; 0 if there are none */

/* Swiftlet's own calls. */
#define APPLET_CALL_WRITE 0x100     /* (address, length) -> length: writes to the console */
#define APPLET_CALL_READ 0x101      /* (address, length) -> bytes read from standard input, at most length; 0 at its end */
#define APPLET_CALL_SLEEP 0x102     /* (nanoseconds) -> 0: returns when they have passed */
#define APPLET_CALL_YIELD 0x103     /* () -> 0: lets other contexts run */
#define APPLET_CALL_REGION 0x104    /* (index, address) -> 0: stores a struct applet_region there; -ENOENT past the last.
                                       Regions are whole pages, by ascending address */
#define APPLET_CALL_ARGUMENTS 0x105 /* (address, length) -> size in bytes of all arguments, each terminated by a zero byte,
                                       the first is the applet's name; copies up to length bytes of them */
#define APPLET_CALL_COUNTER 0x106   /* () -> frequency in Hz of the counter, which the applet may read without a call from
                                       now on: CNTVCT_EL0 or the time CSR; 0 if that is not allowed */
#define APPLET_CALL_SECURE 0x107    /* system mode with a secure peer: (number, argument) -> the peer's answer to this request;
                                       -EPIPE if it has ended. APPLET_CALL_YIELD runs the peer until it yields or waits,
                                       and returns -EPIPE if it has ended */
#define APPLET_CALL_SERVE 0x108     /* the secure peer: (answer, address) -> 0 when there is a request, which is then in the
                                       struct applet_request at the address. The answer is to the previous request; it is
                                       ignored in the first call. Shared memory is a region of APPLET_USE_ADDED */
#define APPLET_CALL_EXIT_STATUS 0x109 /* (status): ends the applet; swiftlet exits with the low 8 bits of status */
#define APPLET_CALL_MONOTONIC 0x10a /* () -> nanoseconds of the host's monotonic clock, as a signed 64-bit number. Its sum with
                                       swiftlet,clock-offset in the device tree is the time of day */
#define APPLET_CALL_LAST 0x10a      /* the highest call number */

/* How the shim of a secure context leaves the guest: the function identifier of `hvc #0` in x0 on arm64, the extension ID of
   `ecall` in a7 on riscv64 (APPLET_SBI_EXTENSION). */
#define APPLET_SHIM_EXIT 1  /* arm64: an exception of the applet, in the trap frame */
#define APPLET_SHIM_FAULT 2 /* arm64: an exception of the shim itself */

/* The calls of a program in system mode, and of the monitor's vectors. */
#define APPLET_SBI_EXTENSION 0x08000000 /* riscv64: the extension id, in the experimental range */
#define APPLET_SBI_EXCEPTION 0x08000001 /* riscv64: an exception, in scause, sepc and stval; a7 is in sscratch */
#define APPLET_CALL_EXCEPTION 0x1000    /* arm64: an exception, in ESR_EL1, ELR_EL1 and FAR_EL1; x0 is in TPIDR_EL1 */

#define APPLET_CALL_BLOCK 0x1001        /* (address) -> 0, or -EINVAL: sets this CPU's block; address a multiple of 32 */
#define APPLET_CALL_BY_BLOCK 0x1002     /* () -> the number in the block: makes the call that is in the block */
#define APPLET_CALL_SYSTEM_LAST 0x1002

/* Notes of an image (PT_NOTE) by which it says what it was built for; the guest libraries have the first. A note is three
   32-bit words (size of the owner's name with its zero byte, size of the value, type), the name and the value, each padded
   to 4 bytes. */
#define APPLET_NOTE_OWNER "Swiftlet"
#define APPLET_NOTE_ABI 1    /* two 32-bit words: APPLET_ABI_MAJOR and APPLET_ABI_MINOR */
#define APPLET_NOTE_LAYOUT 2 /* a 32-bit word: the layout of its memory, APPLET_LAYOUT_…; the default is compact */
#define APPLET_LAYOUT_COMPACT 0    /* the stack next to the image, with a guard page; the heap elsewhere */
#define APPLET_LAYOUT_CONTIGUOUS 1 /* image, heap and stack in one piece, in this order, as GoTEE's applets have it */

/* Access of a region, as bits. */
#define APPLET_REGION_READ 1
#define APPLET_REGION_WRITE 2
#define APPLET_REGION_EXECUTE 4

/* The trap frame: one page that the shim (EL1, VS mode) and the monitor share and the applet cannot access. These are indices
   of 64-bit words. A general register is at its own number: x0 to x30, and SP_EL0 at 31, on arm64; x1 to x31 on riscv64,
   where word 0 is not used. */
#define APPLET_FRAME_STACK_ARM64 31
#define APPLET_FRAME_PC 32      /* ELR_EL1, sepc: of the ecall instruction, or of the one after the svc */
#define APPLET_FRAME_STATUS 33  /* SPSR_EL1, sstatus */
#define APPLET_FRAME_CAUSE 34   /* ESR_EL1, scause */
#define APPLET_FRAME_ADDRESS 35 /* FAR_EL1, stval */
#define APPLET_FRAME_ON_EXIT 36  /* APPLET_EXIT_WATCH, set by the monitor, with APPLET_EXIT_SAVED from the shim; or 0 */
#define APPLET_FRAME_DOORBELL 37 /* arm64: the address to which the shim stores to leave the guest */
#define APPLET_FRAME_ON_ENTRY 38 /* APPLET_ENTRY_…, set by the monitor for the next entry, cleared by the shim; with 0 the
                                    shim loads only what an exit changes: x0 to x2, or PC, t0, a0, a1 and a7 */
#define APPLET_FRAME_FP_CONTROL 40 /* FPCR, fcsr */
#define APPLET_FRAME_FP_STATUS 41  /* FPSR */
#define APPLET_FRAME_FP 64      /* q0 to q31 (two words each), f0 to f31 (one word each) */
#define APPLET_FRAME_WORDS 128

#define APPLET_ENTRY_FENCE 1     /* invalidate TLB and instruction cache; load all general registers */
#define APPLET_ENTRY_FP 2        /* load the floating-point and all general registers from the frame */
#define APPLET_ENTRY_REGISTERS 4 /* load all general registers, PC and PSTATE from the frame */

#define APPLET_EXIT_WATCH 1 /* at each exit, save the floating-point registers if the applet has used them */
#define APPLET_EXIT_SAVED 2 /* the last exit saved them */

#ifndef __ASSEMBLER__
#include <stdint.h>

/* What APPLET_CALL_REGION stores: a range of the applet's memory with one kind of access. */
struct applet_region {
  uint64_t start;  /* address of the first byte */
  uint64_t length; /* bytes */
  uint64_t access; /* APPLET_REGION_… */
  uint64_t use;    /* enum applet_region_use */
};

/* A request to a secure peer. The meaning of its words is up to the two guests. */
struct applet_request {
  uint64_t number;
  uint64_t argument;
};

/* The registers of a call by block. */
struct applet_block {
  uint64_t number;       /* replaced by the result; NOT_SUPPORTED (-1, -2) for an unknown number */
  uint64_t arguments[3]; /* preserved */
};

enum applet_region_use {
  APPLET_USE_IMAGE = 0,  /* a segment of the ELF file */
  APPLET_USE_HEAP = 1,   /* memory that the applet may use freely */
  APPLET_USE_STACK = 2,
  APPLET_USE_ADDED = 3,  /* a region added by the embedding program */
  APPLET_USE_DEVICE_TREE = 4, /* the flattened device tree */
};
#endif
#endif

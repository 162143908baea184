/* The interface between an applet and its monitor: everything that both sides must agree on, and nothing else.
 *
 * Included by the monitor (as the Swift module AppletABI), by the guest libraries in C and Swift, and by assembly
 * (under __ASSEMBLER__ only the macros remain).
 *
 * Calls. The call number travels in x0 (a0), its arguments in x1 to x3 (a1 to a3), its result comes back in x0 (a0).
 * Registers other than x0 (a0) keep their values. A secure applet calls with `svc #0` or `ecall`; the immediate and a7
 * are not looked at. Numbers 0 to 5 have GoTEE's values and meaning. A call whose line below names a negative errno value
 * may answer it. All else that can go wrong ends the applet: output that cannot be written and input that cannot be read,
 * too.
 *
 * Entry. The stack pointer is at the end of the stack. x0 (a1; a0 is 0, the hart's number) holds the address of a
 * flattened device tree, in pages that the applet can read: it says what memory there is, and what the arguments are.
 *
 * An applet that panics exits with status 134; other statuses from 120 on are swiftlet's own.
 *
 * Addresses handed over must lie wholly in the applet's own memory: readable where the monitor reads, writable where
 * it writes. A buffer of no bytes may lie anywhere. An address that does not, or a number that no call has, ends the applet with an error that says so.
 *
 * A program in system mode (EL1, VS mode: `swiftlet run --non-secure`) has the same calls, in the manner of its mode:
 *   arm64    `hvc #0`. The number is the function id of the SMC calling convention (its range of existing APIs); arguments
 *            and result are where they are for an applet, x1 to x30 keep their values. A number that no call has answers -1,
 *            NOT_SUPPORTED. On kernels before Linux 6.4, which cannot hand calls on, all of them do.
 *   riscv64  `ecall` in the manner of SBI: a7 is APPLET_SBI_EXTENSION, a6 the number, a0 to a2 the arguments; a0 comes back
 *            as an error, 0 or SBI_ERR_NOT_SUPPORTED (-2), and a1 as the result. All else keeps its value.
 * On arm64 each register that a call uses costs the monitor a quarter of the call. A program that makes many calls names a
 * block of its memory, a struct applet_block, once for each processor (APPLET_CALL_BLOCK); from then on the call
 * APPLET_CALL_BY_BLOCK, without arguments, is the one that the block says, and leaves the result there.
 *
 * PSCI (arm64) and SBI (riscv64) are there too. At entry MMU and caches are on, with memory and devices where they are;
 * exceptions go to vectors of the monitor's, which end the program with an error, until it sets its own. Another processor
 * that it starts begins as PSCI and SBI say, with the MMU off.
 */
#ifndef SWIFTLET_APPLET_ABI_H
#define SWIFTLET_APPLET_ABI_H

/* Version of this interface: the major part changes when an applet built earlier would misbehave. */
#define APPLET_ABI_MAJOR 1
#define APPLET_ABI_MINOR 3

/* GoTEE's calls. */
#define APPLET_CALL_EXIT 0         /* (status): ends the applet; the low 8 bits of status become swiftlet's own */
#define APPLET_CALL_PUT_CHARACTER 1 /* (character): appends one byte to the console; the low 8 bits count */
#define APPLET_CALL_NANOTIME 2     /* () -> nanoseconds of the host's monotonic clock, as a signed 64-bit number */
#define APPLET_CALL_GETRANDOM 3    /* (address, length): fills the buffer with random bytes from the host's kernel */
#define APPLET_CALL_RPC_REQUEST 4  /* (address, length): hands bytes of a JSON-RPC 1.0 request to the monitor */
#define APPLET_CALL_RPC_RESPONSE 5 /* (address, length) -> number of response bytes placed there; 0 when none wait */

/* Calls of Swiftlet's own. */
#define APPLET_CALL_WRITE 0x100     /* (address, length) -> length: appends bytes to the console */
#define APPLET_CALL_READ 0x101      /* (address, length) -> bytes read from standard input, at most length; 0 at its end */
#define APPLET_CALL_SLEEP 0x102     /* (nanoseconds) -> 0: comes back when they have passed */
#define APPLET_CALL_YIELD 0x103     /* () -> 0: lets other contexts run */
#define APPLET_CALL_REGION 0x104    /* (index, address) -> 0: writes a struct applet_region there; -ENOENT past the last.
                                       Regions are whole pages, by ascending address */
#define APPLET_CALL_ARGUMENTS 0x105 /* (address, length) -> size in bytes of all arguments, each ended by a zero byte, the
                                       first being the applet's name; copies as much of them as fits in length */
#define APPLET_CALL_COUNTER 0x106   /* () -> ticks a second of the counter that the applet may read from now on without a
                                       call, CNTVCT_EL0 or the time CSR; 0 where it is kept from it */
#define APPLET_CALL_SECURE 0x107    /* system mode, beside a trusted applet: (number, argument) -> what the applet answers to that
                                       request, once it has; -EPIPE when it has ended. An APPLET_CALL_YIELD gives it a turn,
                                       until it yields or waits, and answers -EPIPE when it has ended */
#define APPLET_CALL_SERVE 0x108     /* the trusted applet: (answer, address) -> 0, when there is a request, which is then a
                                       struct applet_request at the address. The answer is that to the request before; the
                                       first is nobody's. What both map is a region of APPLET_USE_ADDED */
#define APPLET_CALL_LAST 0x108      /* the greatest number any call has */

/* What a program in system mode calls with, and what the monitor's own vectors do. */
#define APPLET_SBI_EXTENSION 0x08000000 /* riscv64: the extension id, in the experimental range */
#define APPLET_SBI_EXCEPTION 0x08000001 /* riscv64: an exception, in scause, sepc and stval; a7 is in sscratch */
#define APPLET_CALL_EXCEPTION 0x1000    /* arm64: an exception, in ESR_EL1, ELR_EL1 and FAR_EL1; x0 is in TPIDR_EL1 */

#define APPLET_CALL_BLOCK 0x1001        /* (address) -> 0, or -EINVAL: names this processor's block; a multiple of 32 */
#define APPLET_CALL_BY_BLOCK 0x1002     /* () -> the number in the block: makes the call that is in the block */
#define APPLET_CALL_SYSTEM_LAST 0x1002

/* Access of a region, as bits. */
#define APPLET_REGION_READ 1
#define APPLET_REGION_WRITE 2
#define APPLET_REGION_EXECUTE 4

/* The trap frame: one page that the shim (EL1, VS mode) and the monitor share and the applet cannot reach. Indices of
   64-bit words. General registers are at their own number: x0 to x30 and SP_EL0 at 31 on arm64; x1 to x31 on riscv64,
   where word 0 is not used. */
#define APPLET_FRAME_STACK_ARM64 31
#define APPLET_FRAME_PC 32      /* ELR_EL1, sepc: for an ecall the instruction itself, for an svc the one behind it */
#define APPLET_FRAME_STATUS 33  /* SPSR_EL1, sstatus */
#define APPLET_FRAME_CAUSE 34   /* ESR_EL1, scause */
#define APPLET_FRAME_ADDRESS 35 /* FAR_EL1, stval */
#define APPLET_FRAME_ON_EXIT 36  /* APPLET_EXIT_WATCH, set by the monitor, with APPLET_EXIT_SAVED from the shim; or 0 */
#define APPLET_FRAME_DOORBELL 37 /* arm64: where the shim stores to leave the guest by MMIO */
#define APPLET_FRAME_ON_ENTRY 38 /* APPLET_ENTRY_…, set by the monitor for the next entry, cleared by the shim; with 0 the
                                    shim loads only what an exit changes: x0 to x2, or PC, t0, a0, a1 and a7 */
#define APPLET_FRAME_FP_CONTROL 40 /* FPCR, fcsr */
#define APPLET_FRAME_FP_STATUS 41  /* FPSR */
#define APPLET_FRAME_FP 64      /* q0 to q31 (two words each), f0 to f31 (one word each) */
#define APPLET_FRAME_WORDS 128

#define APPLET_ENTRY_FENCE 1     /* forget cached translations and instructions, and load all general registers */
#define APPLET_ENTRY_FP 2        /* load the floating-point registers from the frame, and all general ones */
#define APPLET_ENTRY_REGISTERS 4 /* load all general registers, PC and PSTATE from the frame */

#define APPLET_EXIT_WATCH 1 /* save the floating-point registers at each exit before which the applet has used them */
#define APPLET_EXIT_SAVED 2 /* the last exit was such a one */

#ifndef __ASSEMBLER__
#include <stdint.h>

/* What APPLET_CALL_REGION writes: a run of the applet's memory with one kind of access. */
struct applet_region {
  uint64_t start;  /* address of the first byte */
  uint64_t length; /* bytes */
  uint64_t access; /* APPLET_REGION_… */
  uint64_t use;    /* enum applet_region_use */
};

/* A request to a trusted applet: what the words mean is up to it and those who ask. */
struct applet_request {
  uint64_t number;
  uint64_t argument;
};

/* What a call by block has in place of registers. */
struct applet_block {
  uint64_t number;       /* becomes the result; NOT_SUPPORTED (-1, -2) for a number that no call has */
  uint64_t arguments[3]; /* kept */
};

enum applet_region_use {
  APPLET_USE_IMAGE = 0,  /* a segment of the ELF file */
  APPLET_USE_HEAP = 1,   /* free memory between image and stack */
  APPLET_USE_STACK = 2,
  APPLET_USE_ADDED = 3,  /* a region that the monitor's user added */
  APPLET_USE_DEVICE_TREE = 4, /* the flattened device tree */
};
#endif
#endif

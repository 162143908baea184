/* Shared by registers.c and round.S. */
#ifndef REGISTERS_H
#define REGISTERS_H

#define GENERAL_COUNT 32 /* by their own numbers; 31 on arm64 is the stack pointer */
#if defined(__aarch64__)
#define FIRST_REGISTER 0
#define CALL_REGISTER 0
#define STACK_REGISTER 31
#define FLOATING_WORDS 64
#define FLOATING_CONTROL(round) (((round) & 3) << 22) /* FPCR.RMode */
#define FLOATING_STATUS(round) ((round) & 31)         /* FPSR's exception flags */
#else
#define FIRST_REGISTER 1
#define CALL_REGISTER 10
#define STACK_REGISTER 2
#define FLOATING_WORDS 32
#define FLOATING_CONTROL(round) ((((round) % 5) << 5) | ((round) & 31)) /* fcsr: rounding mode, exception flags */
#define FLOATING_STATUS(round) 0
#endif

/* Offsets in struct registers. */
#define AT_FLOATING (8 * GENERAL_COUNT)
#define AT_CONTROL (AT_FLOATING + 8 * FLOATING_WORDS)
#define AT_STATUS (AT_CONTROL + 8)

#ifndef __ASSEMBLER__
#include "applet.h"

struct registers {
  uint64_t general[GENERAL_COUNT];
  uint64_t floating[FLOATING_WORDS];
  uint64_t floating_control;
  uint64_t floating_status;
};
_Static_assert(offsetof(struct registers, floating_status) == AT_STATUS, "round.S relies on it");

/* Loads all registers from before (except the stack pointer, whose value it stores there), calls the monitor, and stores
 * them in after. */
void registers_round(struct registers *before, struct registers *after);
#endif
#endif

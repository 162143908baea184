/* setjmp and longjmp (C23, 7.13). */
#ifndef SETJMP_H
#define SETJMP_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* arm64: x19 to x30, SP, d8 to d15; riscv64: ra, s0 to s11, sp, fs0 to fs11. */
typedef uint64_t jmp_buf[26];

__attribute__((returns_twice)) int setjmp(jmp_buf buffer);
__attribute__((noreturn)) void longjmp(jmp_buf buffer, int value);

#ifdef __cplusplus
}
#endif

#endif

/* The guest side of the monitor's calls, and the little that an applet in C needs besides: text, arguments, a heap.
 * Nothing here has state of its own, so that an applet that does not ask for variables has no page of them. */
#ifndef APPLET_H
#define APPLET_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "applet_abi.h"

#if defined(__aarch64__)
#define APPLET_ARCHITECTURE "arm64"
#elif defined(__riscv)
#define APPLET_ARCHITECTURE "riscv64"
#endif

/* A call with its number and up to three arguments, as they are. The monitor keeps every other register. Programs in system
 * mode are compiled with SYSTEM_MODE, and call in its manner: there a number that no call has answers NOT_SUPPORTED. */
#if defined(__aarch64__)
#define NOT_SUPPORTED (-1)
#elif defined(__riscv)
#define NOT_SUPPORTED (-2)
#endif
static inline int64_t applet_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c) {
#if defined(__aarch64__) && defined(SYSTEM_MODE)
  register uint64_t x0 __asm__("x0") = number;
  register uint64_t x1 __asm__("x1") = a;
  register uint64_t x2 __asm__("x2") = b;
  register uint64_t x3 __asm__("x3") = c;
  /* hvc #0, which the assembler wants an architecture extension for */
  __asm__ volatile(".inst 0xd4000002" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3) : "memory");
  return (int64_t)x0;
#elif defined(__riscv) && defined(SYSTEM_MODE)
  register uint64_t a0 __asm__("a0") = a;
  register uint64_t a1 __asm__("a1") = b;
  register uint64_t a2 __asm__("a2") = c;
  register uint64_t a6 __asm__("a6") = number;
  register uint64_t a7 __asm__("a7") = APPLET_SBI_EXTENSION;
  __asm__ volatile("ecall" : "+r"(a0), "+r"(a1) : "r"(a2), "r"(a6), "r"(a7) : "memory");
  return a0 == 0 ? (int64_t)a1 : (int64_t)a0;
#elif defined(__aarch64__)
  register uint64_t x0 __asm__("x0") = number;
  register uint64_t x1 __asm__("x1") = a;
  register uint64_t x2 __asm__("x2") = b;
  register uint64_t x3 __asm__("x3") = c;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x1), "r"(x2), "r"(x3) : "memory");
  return (int64_t)x0;
#elif defined(__riscv)
  register uint64_t a0 __asm__("a0") = number;
  register uint64_t a1 __asm__("a1") = a;
  register uint64_t a2 __asm__("a2") = b;
  register uint64_t a3 __asm__("a3") = c;
  __asm__ volatile("ecall" : "+r"(a0) : "r"(a1), "r"(a2), "r"(a3) : "memory");
  return (int64_t)a0;
#endif
}

/* One function per call, in the order of their numbers. See applet_abi.h for what each does. */

/* At once; exit writes out first what putchar holds back. */
__attribute__((noreturn)) static inline void applet_exit(int status) {
  applet_call(APPLET_CALL_EXIT, (uint64_t)(int64_t)status, 0, 0);
  __builtin_trap();
}

static inline void applet_put_character(char character) {
  applet_call(APPLET_CALL_PUT_CHARACTER, (unsigned char)character, 0, 0);
}

/* Nanoseconds of the host's monotonic clock. */
static inline int64_t applet_nanotime(void) {
  return applet_call(APPLET_CALL_NANOTIME, 0, 0, 0);
}

static inline void applet_getrandom(void *bytes, size_t length) {
  applet_call(APPLET_CALL_GETRANDOM, (uint64_t)bytes, length, 0);
}

static inline void applet_rpc_request(const void *bytes, size_t length) {
  applet_call(APPLET_CALL_RPC_REQUEST, (uint64_t)bytes, length, 0);
}

/* Bytes placed in the buffer, 0 when none wait. */
static inline int64_t applet_rpc_response(void *bytes, size_t length) {
  return applet_call(APPLET_CALL_RPC_RESPONSE, (uint64_t)bytes, length, 0);
}

/* From here on a negative result is the negative of an errno value. */

static inline int64_t applet_write(const void *bytes, size_t length) {
  return applet_call(APPLET_CALL_WRITE, (uint64_t)bytes, length, 0);
}

/* Bytes read, 0 at the end of standard input. */
static inline int64_t applet_read(void *bytes, size_t length) {
  return applet_call(APPLET_CALL_READ, (uint64_t)bytes, length, 0);
}

static inline int64_t applet_sleep(uint64_t nanoseconds) {
  return applet_call(APPLET_CALL_SLEEP, nanoseconds, 0, 0);
}

static inline int64_t applet_yield(void) {
  return applet_call(APPLET_CALL_YIELD, 0, 0, 0);
}

/* In system mode, beside a trusted applet: what it answers. */
static inline int64_t applet_secure(uint64_t number, uint64_t argument) {
  return applet_call(APPLET_CALL_SECURE, number, argument, 0);
}

/* A trusted applet: answers the request before, and waits for the next. */
static inline int64_t applet_serve(uint64_t answer, struct applet_request *request) {
  return applet_call(APPLET_CALL_SERVE, answer, (uint64_t)request, 0);
}

static inline int64_t applet_region(uint64_t index, struct applet_region *region) {
  return applet_call(APPLET_CALL_REGION, index, (uint64_t)region, 0);
}

/* Size in bytes of all arguments; no more than length of them are copied. */
static inline int64_t applet_arguments(char *bytes, size_t length) {
  return applet_call(APPLET_CALL_ARGUMENTS, (uint64_t)bytes, length, 0);
}

/* Ticks a second of the counter that may be read without a call from now on; 0 where it is kept from the applet. */
static inline int64_t applet_counter(void) {
  return applet_call(APPLET_CALL_COUNTER, 0, 0, 0);
}

/* Nanoseconds of the host's monotonic clock, as applet_nanotime, but without a call where the counter may be read. */
int64_t nanotime(void);

/* Text on its way to the console: a buffer for the caller's stack, written with one call when it is full and at
 * text_flush. Formats are printf's: %s %c %d %u %x %p %%, with l or z, a width and a leading 0. */
#define TEXT_SIZE 504
struct text {
  size_t length;
  char bytes[TEXT_SIZE];
};

static inline void text_start(struct text *text) {
  text->length = 0;
}

void text_flush(struct text *text);
void text_character(struct text *text, char character);
void text_hex(struct text *text, const void *bytes, size_t length);
void text_list(struct text *text, const char *format, va_list list);
__attribute__((format(printf, 2, 3))) void text_format(struct text *text, const char *format, ...);

/* Formats and writes at once, with one call where the text is shorter than TEXT_SIZE. */
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);

/* Says why on the console and ends the applet with status 134. */
__attribute__((noreturn, format(printf, 1, 2))) void panic(const char *format, ...);

/* The arguments, on the caller's stack. Those behind the first ARGUMENTS_SIZE bytes are cut off. */
#define ARGUMENTS_SIZE 1024
struct arguments {
  size_t size;
  char bytes[ARGUMENTS_SIZE];
};

void arguments_load(struct arguments *arguments);

/* An argument by its index, 0 being the applet's name; NULL past the last. */
const char *argument(const struct arguments *arguments, size_t index);

/* A property of a device tree, by the path of its node, unit addresses left out, and its name: "/memory", "reg". NULL where
 * there is none; the length is in bytes, and numbers are big-endian. */
const void *tree_property(const void *tree, const char *path, const char *name, size_t *length);

/* A number of one or two cells in such a property, by the index of its first cell; 0 past the end. */
uint32_t tree_cell(const void *value, size_t length, size_t index);
uint64_t tree_cells(const void *value, size_t length, size_t index);

/* The arguments out of the device tree that main is handed; by a call where the tree has none. */
void arguments_of_tree(struct arguments *arguments, const void *tree);

/* What follows the prefix, or NULL where the text does not begin with it (or is NULL). */
const char *text_after(const char *text, const char *prefix);

/* The number in decimal, or 0x and hexadecimal, that the text consists of. Anything else is a panic. */
uint64_t number_from(const char *text);

/* An argument as a number, or a value for when it is missing. */
uint64_t argument_number(size_t index, uint64_t otherwise);

/* The first region of that use (enum applet_region_use); a panic where there is none. */
struct applet_region region_of_use(uint64_t use);

/* What compilers and runtimes expect by these names: memory.c, heap.c, exit.c, random.c, putchar.c, round.c. */
void *memcpy(void *restrict to, const void *restrict from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int value, size_t length);
int memcmp(const void *a, const void *b, size_t length);
size_t strlen(const char *text);
__attribute__((noreturn)) void exit(int status);
void before_exit(void);
void *malloc(size_t size);
int posix_memalign(void **result, size_t alignment, size_t size);
void free(void *pointer);
void arc4random_buf(void *bytes, size_t length);
int putchar(int character);
double trunc(double value);
double ceil(double value);
double floor(double value);

#endif

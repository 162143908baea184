/* The guest side of the monitor's calls, and a small library for applets in C and C++: text, arguments, a heap. Nothing here
 * has state of its own, so an applet without variables has no page for them. */
#ifndef APPLET_H
#define APPLET_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "applet_abi.h"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__aarch64__)
#define APPLET_ARCHITECTURE "arm64"
#elif defined(__riscv)
#define APPLET_ARCHITECTURE "riscv64"
#endif

/* Makes a call with its number and up to three arguments. All other registers keep their values. Programs in system mode
 * are compiled with SYSTEM_MODE and use HVC or SBI; there an unknown number returns NOT_SUPPORTED. */
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
  /* hvc #0, for which the assembler requires an architecture extension */
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

/* One function for each call, in the order of their numbers. applet_abi.h describes them. */

/* Exits at once. exit() first writes what putchar() has buffered. */
__attribute__((noreturn)) static inline void applet_exit(int status) {
  applet_call(APPLET_CALL_EXIT_STATUS, (uint64_t)(int64_t)status, 0, 0);
  __builtin_trap();
}

static inline void applet_put_character(char character) {
  applet_call(APPLET_CALL_PUT_CHARACTER, (unsigned char)character, 0, 0);
}

/* The time of day: nanoseconds since 1970, UTC. */
static inline int64_t applet_nanotime(void) {
  return applet_call(APPLET_CALL_NANOTIME, 0, 0, 0);
}

static inline void applet_getrandom(void *bytes, size_t length) {
  applet_call(APPLET_CALL_GETRANDOM, (uint64_t)bytes, length, 0);
}

static inline void applet_rpc_request(const void *bytes, size_t length) {
  applet_call(APPLET_CALL_RPC_REQUEST, (uint64_t)bytes, length, 0);
}

/* Returns the number of bytes placed in the buffer, 0 if no response is pending. */
static inline int64_t applet_rpc_response(void *bytes, size_t length) {
  return applet_call(APPLET_CALL_RPC_RESPONSE, (uint64_t)bytes, length, 0);
}

/* For the following calls a negative result is a negative errno value. */

static inline int64_t applet_write(const void *bytes, size_t length) {
  return applet_call(APPLET_CALL_WRITE, (uint64_t)bytes, length, 0);
}

/* Returns the number of bytes read, 0 at the end of standard input. */
static inline int64_t applet_read(void *bytes, size_t length) {
  return applet_call(APPLET_CALL_READ, (uint64_t)bytes, length, 0);
}

static inline int64_t applet_sleep(uint64_t nanoseconds) {
  return applet_call(APPLET_CALL_SLEEP, nanoseconds, 0, 0);
}

static inline int64_t applet_yield(void) {
  return applet_call(APPLET_CALL_YIELD, 0, 0, 0);
}

/* In system mode: makes a request to the peer and returns its reply. */
static inline int64_t applet_secure(uint64_t number, uint64_t argument) {
  return applet_call(APPLET_CALL_SECURE, number, argument, 0);
}

/* In a peer: replies to the last request and waits for the next. */
static inline int64_t applet_serve(uint64_t answer, struct applet_request *request) {
  return applet_call(APPLET_CALL_SERVE, answer, (uint64_t)request, 0);
}

static inline int64_t applet_region(uint64_t index, struct applet_region *region) {
  return applet_call(APPLET_CALL_REGION, index, (uint64_t)region, 0);
}

/* Returns the size in bytes of all arguments; at most length bytes are copied. */
static inline int64_t applet_arguments(char *bytes, size_t length) {
  return applet_call(APPLET_CALL_ARGUMENTS, (uint64_t)bytes, length, 0);
}

/* Returns the frequency in Hz of the counter, which may be read without a call from now on; 0 if it may not. */
static inline int64_t applet_counter(void) {
  return applet_call(APPLET_CALL_COUNTER, 0, 0, 0);
}

/* Nanoseconds of the host's monotonic clock. */
static inline int64_t applet_monotonic(void) {
  return applet_call(APPLET_CALL_MONOTONIC, 0, 0, 0);
}

/* Nanoseconds of the host's monotonic clock, like applet_monotonic, but without a call if the counter may be read: for
 * durations. */
int64_t nanotime(void);

/* The time of day as nanoseconds since 1970, UTC: nanotime and swiftlet,clock-offset of the tree that main gets. */
int64_t time_of_day(const void *tree);

/* A buffer for console output, on the caller's stack. It is written with one call when it is full and by text_flush.
 * Formats are those of C23's printf, without locales, arguments by position (%1$d) and %w: a format is written as it is from the
 * first conversion on that is none of printf's. Wide characters are written as UTF-8. */
#define TEXT_SIZE 496
struct text {
  size_t length;
  uint64_t written; /* bytes that have left the buffer */
  char bytes[TEXT_SIZE];
};

static inline void text_start(struct text *text) {
  text->length = 0;
  text->written = 0;
}

void text_flush(struct text *text);
void text_character(struct text *text, char character);
void text_hex(struct text *text, const void *bytes, size_t length);
void text_list(struct text *text, const char *format, va_list list);
__attribute__((format(printf, 2, 3))) void text_format(struct text *text, const char *format, ...);

/* Formats and writes at once, with one call if the text is shorter than TEXT_SIZE. */
__attribute__((format(printf, 1, 2))) void print(const char *format, ...);

/* Prints a message on the console and exits with status 134. */
__attribute__((noreturn, format(printf, 1, 2))) void panic(const char *format, ...);

/* The arguments, on the caller's stack, truncated to ARGUMENTS_SIZE bytes. */
#define ARGUMENTS_SIZE 1024
struct arguments {
  size_t size;
  char bytes[ARGUMENTS_SIZE];
};

void arguments_load(struct arguments *arguments);

/* An argument by its index, where 0 is the applet's name; NULL past the last. */
const char *argument(const struct arguments *arguments, size_t index);

/* A property of a device tree, by the path of its node without unit addresses, and its name: "/memory", "reg". NULL if it
 * does not exist. The length is in bytes, and numbers are big-endian. */
const void *tree_property(const void *tree, const char *path, const char *name, size_t *length);

/* A cell of such a property, by its index; 0 past the end. */
uint32_t tree_cell(const void *value, size_t length, size_t index);
uint64_t tree_cells(const void *value, size_t length, size_t index);

/* The arguments in the device tree that main gets; if the tree has none, they are fetched with a call. */
void arguments_of_tree(struct arguments *arguments, const void *tree);

/* The text after the prefix, or NULL if the text does not begin with it or is NULL. */
const char *text_after(const char *text, const char *prefix);

/* The text as a number in decimal, or in hexadecimal after 0x. Panics on anything else. */
uint64_t number_from(const char *text);

/* An argument as a number, or a default value if it is missing. */
uint64_t argument_number(size_t index, uint64_t otherwise);

/* The first region of that use (enum applet_region_use). Panics if there is none. */
struct applet_region region_of_use(uint64_t use);

/* Functions that compilers and runtimes expect: memory.c, heap.c, exit.c, atexit.c, random.c, putchar.c, round.c. With a C
 * library they come from there, and its headers declare them. */
#if !defined(APPLET_WITH_C_LIBRARY)
void *memcpy(void *to, const void *from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int value, size_t length);
int memcmp(const void *a, const void *b, size_t length);
size_t strlen(const char *text);
__attribute__((noreturn)) void exit(int status); /* runs what atexit() has registered, destructors, flush_output() */
__attribute__((noreturn)) void abort(void);      /* ends the applet with status 134 at once */
int atexit(void (*function)(void));
void *malloc(size_t size);
void *calloc(size_t count, size_t size);
void *realloc(void *pointer, size_t size);
int posix_memalign(void **result, size_t alignment, size_t size);
void free(void *pointer);
void arc4random_buf(void *bytes, size_t length);
int putchar(int character);
double strtod(const char *text, char **end);
/* math.c: trunc, ceil, floor, round, rint, roundeven, fmod, remainder, sqrt, and each for float. */
double trunc(double value);
double ceil(double value);
double floor(double value);
double round(double value);
double rint(double value);
double fmod(double value, double divisor);
double remainder(double value, double divisor);
double sqrt(double value);
#endif

/* Writes what putchar() has buffered. */
void flush_output(void);

#ifdef __cplusplus
}
#endif

#endif

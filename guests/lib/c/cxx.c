/* What C++ programs without exceptions and run-time type information need, by the names of the C++ ABI for the Itanium
 * architecture. */
#include "applet.h"

static void *allocated(void *pointer, size_t size) {
  if (pointer == NULL) {
    panic("no memory for %zu bytes", size);
  }
  return pointer;
}

static void *aligned(size_t size, size_t alignment) {
  void *pointer = NULL;
  return posix_memalign(&pointer, alignment < sizeof pointer ? sizeof pointer : alignment, size) == 0 ? pointer : NULL;
}

/* operator new and new[]: plain, with an alignment, and each with std::nothrow. */
#define NEW(name, parameters, value) \
  void *new_##name parameters __asm__("_Znw" #name); \
  void *new_##name parameters { return value; } \
  void *new_array_##name parameters __asm__("_Zna" #name); \
  void *new_array_##name parameters { return value; }

/* operator delete and delete[] */
#define DELETE(name, parameters) \
  void delete_##name parameters __asm__("_Zdl" #name); \
  void delete_##name parameters { free(pointer); } \
  void delete_array_##name parameters __asm__("_Zda" #name); \
  void delete_array_##name parameters { free(pointer); }

#define UNUSED __attribute__((unused))

NEW(m, (size_t size), allocated(malloc(size), size))
NEW(mRKSt9nothrow_t, (size_t size, UNUSED const void *nothrow), malloc(size))
NEW(mSt11align_val_t, (size_t size, size_t alignment), allocated(aligned(size, alignment), size))
NEW(mSt11align_val_tRKSt9nothrow_t, (size_t size, size_t alignment, UNUSED const void *nothrow), aligned(size, alignment))
DELETE(Pv, (void *pointer))
DELETE(Pvm, (void *pointer, UNUSED size_t size))
DELETE(PvSt11align_val_t, (void *pointer, UNUSED size_t alignment))
DELETE(PvmSt11align_val_t, (void *pointer, UNUSED size_t size, UNUSED size_t alignment))
DELETE(PvRKSt9nothrow_t, (void *pointer, UNUSED const void *nothrow))
DELETE(PvSt11align_val_tRKSt9nothrow_t, (void *pointer, UNUSED size_t alignment, UNUSED const void *nothrow))

/* std::nothrow, where a header only declares it. */
const char nothrow __asm__("_ZSt7nothrow");

/* The initialization of a variable in a function: 1 if the caller is to do it (3.3.2). */
int __cxa_guard_acquire(uint64_t *guard) {
  char *bytes = (char *)guard;
  if (bytes[1]) {
    panic("the initialization of a variable needs the variable");
  }
  return bytes[0] ? 0 : (bytes[1] = 1);
}

void __cxa_guard_release(uint64_t *guard) {
  *guard = 1; /* clears the second byte */
}

void __cxa_guard_abort(uint64_t *guard) {
  *guard = 0;
}

__attribute__((noreturn)) void __cxa_pure_virtual(void) {
  panic("a pure virtual function was called");
}

__attribute__((noreturn)) void __cxa_deleted_virtual(void) {
  panic("a deleted virtual function was called");
}

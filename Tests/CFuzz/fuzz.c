#define _GNU_SOURCE
#include "fuzz.h"

#include <sys/mman.h>

// Weak: ordinary builds have no libFuzzer, and tests have no fuzzer that it calls.
__attribute__((weak)) int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((weak)) int LLVMFuzzerRunDriver(int *count, char ***words, int (*body)(const uint8_t *, size_t));

int fuzz_run(int count, char **words) {
  return LLVMFuzzerRunDriver ? LLVMFuzzerRunDriver(&count, &words, LLVMFuzzerTestOneInput) : -1;
}

int fuzz_memory_file(void) { return memfd_create("fuzz", MFD_CLOEXEC); }

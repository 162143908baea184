// libFuzzer's driver, if the program is linked with it (swift build --sanitize fuzzer).
#ifndef SWIFTLET_FUZZ_H
#define SWIFTLET_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/// Runs libFuzzer with LLVMFuzzerTestOneInput; returns -1 if the program has none.
int fuzz_run(int count, char **words);

/// Creates an empty file in memory (memfd_create); returns a descriptor, or -1.
int fuzz_memory_file(void);

#endif

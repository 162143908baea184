/* The baseline of a start, with a C library: creates one VM, runs it to its first call, and ends. tools/bench lets `swiftlet bench`
 * compare it with `swiftlet run`, as a static program with glibc. */
#include "baseline.h"

int main(void) { return baseline_hold(1) < 0; }

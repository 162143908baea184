/* The floor of a start, with a C library: makes one machine, takes one call, and ends. tools/bench lets `swiftlet bench`
 * measure it beside `swiftlet run`, as a static program with glibc. */
#include "floor.h"

int main(void) { return floor_hold(1) < 0; }

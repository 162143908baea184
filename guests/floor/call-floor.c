/* The floor under a call's time: prints `floor NANOSECONDS_PER_CALL` of as many calls as its argument says (10000). */
#include <time.h>

#include "machine.h"

#define WARM_UP 16 /* calls before the clock starts */

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

int main(int count, char **arguments) {
  long calls = count > 1 ? strtol(arguments[1], NULL, 10) : 10000;
  if (calls <= 0) {
    fprintf(stderr, "usage: call-floor [CALLS]\n");
    return 2;
  }
  struct machine machine = machine_open();
  for (long i = 0; i < WARM_UP; i++) {
    machine_call(&machine);
  }
  int64_t start = now();
  for (long i = 0; i < calls; i++) {
    machine_call(&machine);
  }
  printf("floor %lld\n", (long long)((now() - start + calls / 2) / calls));
  return 0;
}

/* Adds and multiplies in floating point with calls in between, which must preserve the registers. The numbers are integers, so
 * that the sums are exact on any machine. */
#include "applet.h"

int main(void) {
  double sum = 0;
  double product = 1;
  float alternating = 0;
  for (int i = 1; i <= 1000; i++) {
    sum += i;
    if (i % 100 == 0) {
      product *= 2;
    }
    alternating += i % 2 ? (float)i : -(float)i;
    if (i % 10 == 0) {
      applet_nanotime();
    } else {
      applet_yield();
    }
  }
  print("floating: %lu %lu %ld\n", (uint64_t)sum, (uint64_t)product, (int64_t)alternating);
  return 0;
}

/* Passes the result of each call to the next, forever: call 0x500 with the last result, the round and its complement. For
 * monitors with a handler of their own. */
#include "applet.h"

int main(void) {
  int64_t result = 0;
  for (uint64_t round = 0;; round++) {
    result = applet_call(0x500, (uint64_t)result, round, ~round);
  }
}

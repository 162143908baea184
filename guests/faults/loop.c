/* Loops without a call. */
#include "applet.h"

int main(void) {
  print("loop: spinning\n");
  for (;;) {
    __asm__ volatile("");
  }
}

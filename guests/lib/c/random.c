/* The source of Swift's hash seeds and random numbers. */
#include "applet.h"

void arc4random_buf(void *bytes, size_t length) {
  applet_getrandom(bytes, length);
}

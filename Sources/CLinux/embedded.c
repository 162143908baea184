// A correction to the runtime of Embedded Swift (6.3), whose own definitions are weak. Empty in ordinary builds, which have
// glibc and the whole runtime.
#include <features.h>

#ifndef __GLIBC__
#include <stdint.h>

void *swift_retain(void *object);

// The compiler takes the answer to be the argument, bits for bits, and goes on with it. The runtime's own answers the bare
// address: a short string, which lives in those bits, came out of it broken.
void *swift_bridgeObjectRetain(void *object) {
  uintptr_t bits = (uintptr_t)object;
  // The highest bit: no object that is counted. The other bits of the mask are tags.
  void *address = (void *)(bits & 0x8ffffffffffffff8);
  if (!(bits >> 63) && address) swift_retain(address);
  return object;
}

void *swift_bridgeObjectRetain_n(void *object, uint32_t count) {
  while (count-- > 0) swift_bridgeObjectRetain(object);
  return object;
}
#endif

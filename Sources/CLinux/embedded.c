// Replaces a function of the Embedded Swift runtime (6.3), whose definitions are weak. Empty in ordinary builds, which
// have glibc and the full runtime.
#include <features.h>

#ifndef __GLIBC__
#include <stdint.h>

void *swift_retain(void *object);

// The compiler assumes that the result has the same bits as the argument. The runtime's function returns the address
// without tags, which corrupts a short string, since that is stored in those bits.
void *swift_bridgeObjectRetain(void *object) {
  uintptr_t bits = (uintptr_t)object;
  // The highest bit: not reference-counted. The other bits of the mask are tags.
  void *address = (void *)(bits & 0x8ffffffffffffff8);
  if (!(bits >> 63) && address) swift_retain(address);
  return object;
}

void *swift_bridgeObjectRetain_n(void *object, uint32_t count) {
  while (count-- > 0) swift_bridgeObjectRetain(object);
  return object;
}
#endif

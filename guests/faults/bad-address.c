/* Requests random bytes at an address that the applet may not write, selected by its argument; last-byte is allowed. */
#include "probe.h"

static struct {
  const char *variant;
  uint64_t address;
  uint64_t length;
} request;

static void choose(const char *variant) {
  uint64_t end = memory_end();
  request.variant = variant;
  request.length = 16;
  if (variant == NULL || text_after(variant, "outside") != NULL) {
    request.variant = "outside";
    request.address = end + (1 << 30);
  } else if (text_after(variant, "wrap") != NULL) {
    request.address = UINT64_MAX - 7; /* address + length passes 2^64 */
  } else if (text_after(variant, "text") != NULL) {
    request.address = (uintptr_t)choose;
  } else if (text_after(variant, "last-byte") != NULL) {
    request.address = end - 16;
  } else if (text_after(variant, "past-end") != NULL) {
    request.address = end - 15;
  } else if (text_after(variant, "too-long") != NULL) {
    request.address = (uintptr_t)&request;
    request.length = UINT64_MAX;
  } else if (text_after(variant, "guard") != NULL) {
    request.address = region_of_use(APPLET_USE_STACK).start - 8; /* from the guard page into the stack */
  } else {
    panic("outside, wrap, text, last-byte, past-end, too-long or guard?");
  }
}

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  choose(argument(&arguments, 1));
  print("bad-address: %s, %lu bytes at %p\n", request.variant, request.length, (void *)request.address);
  if (text_after(request.variant, "last-byte") == NULL) {
    applet_getrandom((void *)request.address, request.length);
    panic("it was allowed");
  }
    /* The stack's last bytes belong to main, its return address for example. */
  unsigned char mine[16];
  memcpy(mine, (void *)request.address, sizeof mine);
  applet_getrandom((void *)request.address, request.length);
  memcpy((void *)request.address, mine, sizeof mine);
  print("bad-address: allowed, as it should be\n");
  return 0;
}

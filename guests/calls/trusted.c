/* A secure peer: keeps a number secret from the operating system, and serves its requests (trusted.h). */
#include "trusted.h"

/* Must not be visible to the other guest. */
static uint64_t secret;

static uint64_t reverse(uint64_t length) {
  struct applet_region shared = region_of_use(APPLET_USE_ADDED);
  if (length > shared.length) {
    return TRUSTED_REFUSED; /* the other guest is not trusted */
  }
  char *text = (char *)shared.start;
  for (uint64_t i = 0; i < length / 2; i++) {
    char byte = text[i];
    text[i] = text[length - 1 - i];
    text[length - 1 - i] = byte;
  }
  return length;
}

int main(void) {
  print("trusted: ready\n");
  applet_getrandom(&secret, sizeof secret);
  uint64_t sum = 0, answer = 0;
  struct applet_request request;
  for (;;) {
    if (applet_serve(answer, &request) != 0) {
      panic("no request");
    }
    switch (request.number) {
    case TRUSTED_ADD:
      answer = sum += request.argument;
      break;
    case TRUSTED_SEAL:
      answer = request.argument ^ secret;
      break;
    case TRUSTED_REVERSE:
      answer = reverse(request.argument);
      break;
    case TRUSTED_SLEEP:
      answer = (uint64_t)applet_sleep(request.argument);
      break;
    case TRUSTED_SPIN:
      for (;;) {
        __asm__ volatile("");
      }
    case TRUSTED_YIELD:
      for (uint64_t i = 0; i < request.argument; i++) {
        applet_yield();
      }
      answer = request.argument;
      break;
    case TRUSTED_CRASH:
      print("trusted: reading 0x%lx\n", request.argument);
      answer = *(volatile uint64_t *)request.argument;
      break;
    case TRUSTED_EXIT:
      return (int)request.argument;
    default:
      answer = TRUSTED_REFUSED;
    }
  }
}

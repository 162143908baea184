/* Makes many calls with random valid buffers (arguments: seed, number of calls), prints their number, and then makes calls with
 * random numbers and arguments until one ends it. */
#include "hostile.h"

static uint8_t room[1 << 16];

/* A call that the monitor must answer. */
static void permitted(uint64_t *state) {
  static const char *const requests[] = {
      "{\"method\":\"Receiver.Echo\",\"params\":[\"x\"],\"id\":1}", "{\"method\":\"No.Such\",\"params\":[1],\"id\":[2]}",
      "{\"id\":null,\"method\":\"x\"}", "  {\"a\":{\"b\":[[[[{}]]]]},\"method\":\"a.b\",\"params\":[{}],\"id\":0} ",
  };
  uint64_t offset = next(state) % sizeof room, length = next(state) % (sizeof room - offset + 1);
  uint64_t at = (uint64_t)room + offset;
  switch (next(state) % 10) {
    case 0: applet_call(APPLET_CALL_GETRANDOM, at, length % 4096, 0); break;
    case 1: applet_call(APPLET_CALL_NANOTIME, odd(state), odd(state), odd(state)); break;
    case 2: applet_call(APPLET_CALL_READ, at, length, odd(state)); break;
    case 3: applet_call(APPLET_CALL_SLEEP, next(state) % 1000, odd(state), odd(state)); break;
    case 4: applet_call(APPLET_CALL_YIELD, odd(state), odd(state), odd(state)); break;
    case 5: applet_call(APPLET_CALL_REGION, odd(state), (uint64_t)room + offset / 2, 0); break;
    case 6: applet_call(APPLET_CALL_ARGUMENTS, at, length, odd(state)); break;
    case 7: {
      const char *request = requests[next(state) % 4];
      applet_rpc_request(request, strlen(request));
      break;
    }
    case 8: applet_call(APPLET_CALL_RPC_RESPONSE, at, length, odd(state)); break;
      /* An empty buffer may have any address. */
    default: applet_call(APPLET_CALL_WRITE, odd(state), 0, odd(state)); break;
  }
}

int main(void) {
  uint64_t state = argument_number(1, 1) * 0x9e3779b97f4a7c15ull + 1, count = argument_number(2, 1000);
  for (uint64_t i = 0; i < count; i++) {
    permitted(&state);
  }
  print("calls: %lu\n", count);
  for (int i = 0; i < 1000; i++) {
    uint64_t number = next(&state) % 4 == 0 ? odd(&state) : next(&state) % 8 + (next(&state) & 1) * 0x100;
        /* These would wait, or end the applet without an error. */
    if (number == APPLET_CALL_SLEEP || number == APPLET_CALL_EXIT || number == APPLET_CALL_PUT_CHARACTER) {
      continue;
    }
    applet_call(number, odd(&state), odd(&state), odd(&state));
  }
  return 0;
}

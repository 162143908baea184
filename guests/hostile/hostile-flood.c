/* Makes the monitor work as fast as it can, for ever (argument: output, rpc or random): lines, requests, random numbers. */
#include "hostile.h"

static uint8_t room[1 << 14];

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  const char *what = argument(&arguments, 1);
  static const char request[] = "{\"method\":\"RPC.Echo\",\"params\":[\"again\"],\"id\":1}";
  memset(room, '.', sizeof room);
  for (size_t i = 63; i < sizeof room; i += 64) {
    room[i] = '\n';
  }
  for (;;) {
    if (text_after(what, "rpc") != NULL) {
      applet_rpc_request(request, sizeof request - 1);
      applet_rpc_response(room, sizeof room);
    } else if (text_after(what, "random") != NULL) {
      applet_getrandom(room, sizeof room);
    } else {
      applet_write(room, sizeof room);
    }
  }
}

/* Makes the monitor work as fast as it can, forever (argument: output, rpc, hoard, random, log or values): lines, requests,
 * requests whose responses are not all read, random bytes, lines of the daemon's log, stored values. */
#include "hostile.h"

static uint8_t room[1 << 14];

static void request(const char *text, size_t length) {
  applet_rpc_request(text, length);
  applet_rpc_response(room, sizeof room);
}

/* Requests large responses, and never reads all: one always remains. */
static void hoard(void) {
  static char echo[60000] = "{\"method\":\"RPC.Echo\",\"params\":[\"", response[sizeof echo];
  static const char end[] = "\"],\"id\":1}", around[] = "{\"id\":1,\"result\":\"\",\"error\":null}\n";
  size_t head = strlen(echo), tail = sizeof echo - sizeof end;
  memset(echo + head, '.', tail - head);
  memcpy(echo + tail, end, sizeof end);
  applet_rpc_request(echo, sizeof echo - 1);
  for (;;) {
    applet_rpc_request(echo, sizeof echo - 1);
    applet_rpc_response(response, tail - head + sizeof around - 1);
  }
}

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  const char *what = argument(&arguments, 1);
  static const char echo[] = "{\"method\":\"RPC.Echo\",\"params\":[\"again\"],\"id\":1}";
  static const char log[] = "{\"method\":\"Log.Error\",\"params\":[\"again\"],\"id\":1}";
  static char set[8192] = "{\"method\":\"KV.Set\",\"params\":[{\"key\":\"k\",\"value\":\"";
  static const char end[] = "\"}],\"id\":1}";
  memset(room, '.', sizeof room);
  for (size_t i = 63; i < sizeof room; i += 64) {
    room[i] = '\n';
  }
  size_t head = strlen(set), tail = sizeof set - sizeof end;
  memset(set + head, '.', tail - head);
  memcpy(set + tail, end, sizeof end);
  if (text_after(what, "hoard") != NULL) {
    hoard();
  }
  for (;;) {
    if (text_after(what, "rpc") != NULL) {
      request(echo, sizeof echo - 1);
    } else if (text_after(what, "log") != NULL) {
      request(log, sizeof log - 1);
    } else if (text_after(what, "values") != NULL) {
      request(set, sizeof set - 1);
    } else if (text_after(what, "random") != NULL) {
      applet_getrandom(room, sizeof room);
    } else {
      applet_write(room, sizeof room);
    }
  }
}

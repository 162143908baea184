/* Calls the monitor's RPC.Echo as many times as its argument says (1000). */
#include "rpc.h"

int main(void) {
  static const char request[] = RPC_ECHO("0");
  for (uint64_t rest = argument_number(1, 1000); rest > 0; rest--) {
    char response[256];
    applet_rpc_request(request, sizeof request - 1);
    rpc_receive(response, sizeof response, sizeof response);
  }
  return 0;
}

/* Calls the monitor's RPC.Echo, and prints the response.
 *
  *   --read=N   reads N bytes of the response in a call
 *   --split    sends one request with two calls
 *   --batched  sends two requests with one call */
#include "rpc.h"

static const char one[] = RPC_ECHO("0");
static const char two[] = RPC_ECHO("0") RPC_ECHO("1");

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  size_t piece = 256;
  size_t responses = 1;
  int is_split = 0;
  for (size_t i = 1; argument(&arguments, i) != NULL; i++) {
    const char *text = argument(&arguments, i);
    if (text_after(text, "--read=") != NULL) {
      piece = number_from(text_after(text, "--read="));
    } else if (text_after(text, "--batched") != NULL) {
      responses = 2;
      piece = 1;
    } else if (text_after(text, "--split") != NULL) {
      is_split = 1;
    } else {
      panic("--read=N, --split or --batched?");
    }
  }

  print("rpc-echo: sending\n");
  if (responses == 2) {
    applet_rpc_request(two, sizeof two - 1);
  } else if (is_split) {
    applet_rpc_request(one, 20);
    applet_rpc_request(one + 20, sizeof one - 1 - 20);
  } else {
    applet_rpc_request(one, sizeof one - 1);
  }
  for (; responses > 0; responses--) {
    char response[256];
    rpc_receive(response, sizeof response, piece);
    print("%s\n", response);
  }
  return 0;
}

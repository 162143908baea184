/* Makes the RPCs in its arguments, one after the other, and prints each response. The arguments are pairs: a method, and its
 * parameter as JSON. */
#include "rpc.h"

static char request[1024];
static size_t length;

static void add(const char *text) {
  for (; *text != 0; text++) {
    if (length == sizeof request) panic("a call of more than 1024 bytes");
    request[length++] = *text;
  }
}

int main(void) {
  struct arguments arguments;
  arguments_load(&arguments);
  for (size_t i = 1; argument(&arguments, i) != NULL && argument(&arguments, i + 1) != NULL; i += 2) {
    length = 0;
    add("{\"id\":1,\"method\":\"");
    add(argument(&arguments, i));
    add("\",\"params\":[");
    add(argument(&arguments, i + 1));
    add("]}\n");
    applet_rpc_request(request, length);
    char response[1024];
    rpc_receive(response, sizeof response, 256);
    print("%s\n", response);
  }
  return 0;
}

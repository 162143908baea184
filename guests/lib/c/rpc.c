#include "rpc.h"

#define SECOND (1000 * 1000 * 1000) /* ns */

size_t rpc_receive(char *buffer, size_t size, size_t piece) {
  int64_t deadline = 0; /* set when there is no response yet: an immediate one needs no read of the clock */
  size_t length = 0;
  while (length == 0 || buffer[length - 1] != '\n') {
    size_t room = size - length;
    if (room == 0) {
      panic("a response does not fit");
    }
    int64_t count = applet_rpc_response(buffer + length, piece < room ? piece : room);
    if (count > 0) {
      length += (size_t)count;
    } else if (count < 0) {
      panic("the monitor answered %ld instead of a length", count);
    } else {
      int64_t now = applet_monotonic();
      if (deadline == 0) {
        deadline = now + SECOND;
      } else if (now > deadline) {
        panic("no response");
      }
      applet_yield();
    }
  }
  buffer[length - 1] = 0;
  return length - 1;
}

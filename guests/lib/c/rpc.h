/* JSON-RPC 1.0 with the monitor: requests are lines, responses are lines. */
#ifndef RPC_H
#define RPC_H

#include "applet.h"

/* The test server's method, called with one parameter. Its answer is the parameter. */
#define RPC_ECHO(id) "{\"method\":\"RPC.Echo\",\"params\":[\"hello\"],\"id\":" id "}\n"

/* Reads the next response into the buffer, at most piece bytes a call, and ends it with a zero byte instead of its
 * newline. Waits for one second, then panics, as it does about a response that does not fit. Returns its length. What
 * a call hands over behind the newline would be lost: with more than one response on the way, piece must be 1. */
size_t rpc_receive(char *buffer, size_t size, size_t piece);

#endif

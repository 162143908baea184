/* JSON-RPC 1.0 with the monitor: requests are lines, responses are lines. */
#ifndef RPC_H
#define RPC_H

#include "applet.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A call of the method RPC.Echo, which returns its parameter. */
#define RPC_ECHO(id) "{\"method\":\"RPC.Echo\",\"params\":[\"hello\"],\"id\":" id "}\n"

/* Reads the next response into the buffer, at most piece bytes for each call, and replaces its newline by a zero byte.
 * Returns its length. Panics after one second, and if a response does not fit. Bytes after the newline that a call returns
 * are lost: if more than one response is pending, piece must be 1. */
size_t rpc_receive(char *buffer, size_t size, size_t piece);

#ifdef __cplusplus
}
#endif

#endif

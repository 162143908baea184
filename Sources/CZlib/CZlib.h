#ifndef SWIFTLET_CZLIB_H
#define SWIFTLET_CZLIB_H
#include <zlib.h>

// A macro in zlib. 15 bits of window, as gzip has it, and 16 for "gzip, nothing else".
static inline int swiftlet_inflate_start(z_stream *stream) { return inflateInit2(stream, 15 + 16); }

#endif

#ifndef SWIFTLET_CLIBFDT_H
#define SWIFTLET_CLIBFDT_H
#include <libfdt.h>

// A macro in libfdt: the size in bytes that a tree's header claims.
static inline uint32_t swiftlet_fdt_totalsize(const void *tree) { return fdt_totalsize(tree); }

#endif

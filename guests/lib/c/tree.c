/* Reads the flattened device tree (Devicetree Specification, chapter 5). It comes from the monitor, which the guest trusts. */
#include "applet.h"

#define BEGIN_NODE 1
#define END_NODE 2
#define PROPERTY 3
#define END 9

static uint32_t big(const void *bytes) {
  return __builtin_bswap32(*(const uint32_t *)bytes);
}

static int same(const char *a, const char *b) {
  while (*a != 0 && *a == *b) {
    a++;
    b++;
  }
  return *a == *b;
}

/* Length of the part of the path that matches the node's name, 0 if it does not match. */
static size_t taken(const char *path, const char *name) {
  size_t length = 0;
  for (; path[length] != 0 && path[length] != '/'; length++) {
    if (path[length] != name[length]) {
      return 0;
    }
  }
  return name[length] == 0 || name[length] == '@' ? length : 0;
}

const void *tree_property(const void *tree, const char *path, const char *name, size_t *length) {
  const char *start = tree;
  if (tree == NULL || big(start) != 0xd00dfeed) {
    return NULL;
  }
  const char *token = start + big(start + 8);
  const char *strings = start + big(start + 12);
  const char *rest = path; /* the rest of the path after the nodes that were entered */
  unsigned depth = 0;      /* of the node that is looked at */
  unsigned matched = 0;    /* depth down to which the path has been followed */
  for (;;) {
    uint32_t kind = big(token);
    token += 4;
    if (kind == BEGIN_NODE) {
      size_t size = strlen(token) + 1;
      if (depth++ == matched) {
        size_t part = depth == 1 ? 0 : taken(rest, token);
        if (depth == 1 || part > 0) {
          matched = depth;
          rest += part;
          rest += *rest == '/';
        }
      }
      token += (size + 3) & ~(size_t)3;
    } else if (kind == END_NODE) {
      if (depth-- == matched && *rest == 0) {
        return NULL;
      }
      if (matched > depth) {
        return NULL; /* the matched node has no such child */
      }
    } else if (kind == PROPERTY) {
      uint32_t size = big(token);
      if (depth == matched && *rest == 0 && same(strings + big(token + 4), name)) {
        *length = size;
        return token + 8;
      }
      token += 8 + ((size + 3) & ~3u);
    } else if (kind == END) {
      return NULL;
    }
  }
}

uint32_t tree_cell(const void *value, size_t length, size_t index) {
  return value != NULL && index < length / 4 ? big((const char *)value + index * 4) : 0;
}

uint64_t tree_cells(const void *value, size_t length, size_t index) {
  return (uint64_t)tree_cell(value, length, index) << 32 | tree_cell(value, length, index + 1);
}

void arguments_of_tree(struct arguments *arguments, const void *tree) {
  size_t length;
  const void *value = tree_property(tree, "/hypervisor", "swiftlet,arguments", &length);
  if (value == NULL) {
    arguments_load(arguments);
    return;
  }
  arguments->size = length < ARGUMENTS_SIZE ? length : ARGUMENTS_SIZE;
  memcpy(arguments->bytes, value, arguments->size);
  if (length > ARGUMENTS_SIZE) {
    arguments->bytes[ARGUMENTS_SIZE - 1] = 0;
  }
}

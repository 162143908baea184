/* malloc and its relatives on the heap region: adjacent blocks, each with a header that has its own size and its left
 * neighbor's, so that a freed block is merged with free neighbors at once. Free blocks are in a list, and the first that
 * fits is used. Nothing is written after the last block in use, so that untouched pages of the heap stay untouched. Not
 * thread-safe: an applet has one thread. */
#include "applet.h"

#define GRAIN 16 /* sizes and addresses are multiples of it, so that the sizes' low bits are free for USED */
#define USED 1

struct block {
  size_t size; /* including the header; USED in bit 0 */
  size_t left; /* size of the preceding block, 0 for the first */
  /* Only in free blocks: */
  struct block *next;
  struct block *previous;
};

#define HEADER offsetof(struct block, next)
#define SMALLEST sizeof(struct block)

static uintptr_t heap_start;
static uintptr_t heap_end;
static struct block *free_blocks;

static size_t size_of(const struct block *block) {
  return block->size & ~(size_t)USED;
}

/* The right neighbor, NULL at the heap's end. */
static struct block *right_of(const struct block *block) {
  uintptr_t address = (uintptr_t)block + size_of(block);
  return address < heap_end ? (struct block *)address : NULL;
}

static struct block *left_of(const struct block *block) {
  return block->left > 0 ? (struct block *)((uintptr_t)block - block->left) : NULL;
}

static void list_insert(struct block *block) {
  block->previous = NULL;
  block->next = free_blocks;
  if (free_blocks != NULL) {
    free_blocks->previous = block;
  }
  free_blocks = block;
}

static void list_remove(struct block *block) {
  if (block->previous != NULL) {
    block->previous->next = block->next;
  } else {
    free_blocks = block->next;
  }
  if (block->next != NULL) {
    block->next->previous = block->previous;
  }
}

/* Sets the size of a block, also in its right neighbour. */
static void resize(struct block *block, size_t size, size_t used) {
  block->size = size | used;
  struct block *right = right_of(block);
  if (right != NULL) {
    right->left = size;
  }
}

/* Splits a block into two that are not in the list and returns the right one, which begins size bytes after the left. */
static struct block *split(struct block *block, size_t size) {
  struct block *right = (struct block *)((uintptr_t)block + size);
  right->left = size;
  resize(right, size_of(block) - size, 0);
  block->size = size | (block->size & USED);
  return right;
}

static int heap_open(void) {
  struct applet_region region = region_of_use(APPLET_USE_HEAP);
  heap_start = (region.start + GRAIN - 1) & ~(uintptr_t)(GRAIN - 1);
  heap_end = (region.start + region.length) & ~(uintptr_t)(GRAIN - 1);
  if (heap_end < heap_start + SMALLEST) {
    return 0;
  }
  struct block *all = (struct block *)heap_start;
  all->left = 0;
  all->size = heap_end - heap_start;
  list_insert(all);
  return 1;
}

/* Offset in a free block of the header of an aligned block: 0, or enough space for a block of its own. */
static size_t lead_of(const struct block *block, size_t alignment) {
  uintptr_t payload = (uintptr_t)block + HEADER;
  uintptr_t aligned = (payload + alignment - 1) & ~(alignment - 1);
  while (aligned != payload && aligned - payload < SMALLEST) {
    aligned += alignment;
  }
  return aligned - payload;
}

static void *allocate(size_t alignment, size_t size) {
  if (heap_end == 0 && !heap_open()) {
    return NULL;
  }
    /* A size or an alignment larger than the heap never fits, and could overflow the sums below. */
  if (size > heap_end - heap_start || alignment > heap_end - heap_start) {
    return NULL;
  }
  size_t needed = (HEADER + size + GRAIN - 1) & ~(size_t)(GRAIN - 1);
  if (needed < SMALLEST) {
    needed = SMALLEST;
  }
  for (struct block *block = free_blocks; block != NULL; block = block->next) {
    size_t lead = lead_of(block, alignment);
    if (size_of(block) < lead + needed) {
      continue;
    }
    list_remove(block);
    if (lead > 0) {
      struct block *aligned = split(block, lead);
      list_insert(block);
      block = aligned;
    }
    if (size_of(block) - needed >= SMALLEST) {
      list_insert(split(block, needed));
    }
    block->size |= USED;
    return (void *)((uintptr_t)block + HEADER);
  }
  return NULL;
}

void *malloc(size_t size) {
  return allocate(GRAIN, size);
}

void *calloc(size_t count, size_t size) {
  size_t length;
  void *pointer = __builtin_mul_overflow(count, size, &length) ? NULL : malloc(length);
  return pointer != NULL ? memset(pointer, 0, length) : NULL;
}

int posix_memalign(void **result, size_t alignment, size_t size) {
  if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0) {
    return 22; /* EINVAL */
  }
  *result = allocate(alignment < GRAIN ? GRAIN : alignment, size);
  return *result != NULL ? 0 : 12; /* ENOMEM */
}

/* The block that was allocated at that address. */
static struct block *block_of(void *pointer) {
  struct block *block = (struct block *)((uintptr_t)pointer - HEADER);
  if ((uintptr_t)block < heap_start || (uintptr_t)block >= heap_end || (block->size & USED) == 0) {
    panic("free(%p): not allocated", pointer);
  }
  return block;
}

void *realloc(void *pointer, size_t size) {
  if (pointer == NULL) {
    return malloc(size);
  }
  size_t present = size_of(block_of(pointer)) - HEADER;
  if (size <= present && size >= present / 2) {
    return pointer;
  }
  void *moved = malloc(size);
  if (moved == NULL && size <= present) {
    return pointer; /* a smaller block always fits where it is */
  }
  if (moved != NULL) {
    memcpy(moved, pointer, size < present ? size : present);
    free(pointer);
  }
  return moved;
}

void free(void *pointer) {
  if (pointer == NULL) {
    return;
  }
  struct block *block = block_of(pointer);
  block->size &= ~(size_t)USED;
  struct block *right = right_of(block);
  if (right != NULL && (right->size & USED) == 0) {
    list_remove(right);
    resize(block, size_of(block) + size_of(right), 0);
  }
  struct block *left = left_of(block);
  if (left != NULL && (left->size & USED) == 0) {
    list_remove(left);
    resize(left, size_of(left) + size_of(block), 0);
    block = left;
  }
  list_insert(block);
}

/* malloc, posix_memalign and free over the heap region: blocks that lie side by side, each with a header that knows its
 * own size and its left neighbour's, so that a freed block merges with free neighbours at once. Free blocks are in a
 * list, the first that fits is taken. Nothing is written beyond the last block in use, so that untouched pages of the
 * heap stay untouched. Not for more than one thread: an applet has one. */
#include "applet.h"

#define GRAIN 16 /* sizes and addresses are multiples of it, which leaves the sizes' low bits for USED */
#define USED 1

struct block {
  size_t size; /* with the header; USED in bit 0 */
  size_t left; /* size of the block that ends where this one begins, 0 for the first */
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

/* The neighbour to the right, NULL at the heap's end. */
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

/* Gives a block another size and tells its right neighbour. */
static void resize(struct block *block, size_t size, size_t used) {
  block->size = size | used;
  struct block *right = right_of(block);
  if (right != NULL) {
    right->left = size;
  }
}

/* Cuts a block in two that are not in the list and returns the right one, which begins size bytes behind the left. */
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

/* How far into a free block the header of an aligned one would be: nothing, or room for a block of its own. */
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
  /* A size or an alignment beyond the heap's never fits; to say so here keeps the sums below from overflowing. */
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

int posix_memalign(void **result, size_t alignment, size_t size) {
  if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0) {
    return 22; /* EINVAL */
  }
  *result = allocate(alignment < GRAIN ? GRAIN : alignment, size);
  return *result != NULL ? 0 : 12; /* ENOMEM */
}

void free(void *pointer) {
  if (pointer == NULL) {
    return;
  }
  struct block *block = (struct block *)((uintptr_t)pointer - HEADER);
  if ((uintptr_t)block < heap_start || (uintptr_t)block >= heap_end || (block->size & USED) == 0) {
    panic("free(%p): not allocated", pointer);
  }
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

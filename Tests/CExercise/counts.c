#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CExercise.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The linker replaces each reference to malloc by __wrap_malloc; __real_malloc is the C library's (--wrap, in
// Package.swift).
static _Thread_local long allocations;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size) {
  allocations++;
  return __real_malloc(size);
}
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size) {
  allocations++;
  return __real_calloc(count, size);
}
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size) {
  allocations++;
  return __real_realloc(old, size);
}
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
  allocations++;
  return __real_aligned_alloc(alignment, size);
}
int __real_posix_memalign(void **made, size_t alignment, size_t size);
int __wrap_posix_memalign(void **made, size_t alignment, size_t size) {
  allocations++;
  return __real_posix_memalign(made, alignment, size);
}

long exercise_allocations(void) { return allocations; }

static long entries(const char *directory) {
  DIR *open = opendir(directory);
  if (!open) return -1;
  long count = 0;
  for (struct dirent *entry; (entry = readdir(open));) count += entry->d_name[0] != '.';
  closedir(open);
  return count;
}

// Without the descriptor that reads the directory.
long exercise_descriptors(void) { return entries("/proc/self/fd") - 1; }
long exercise_threads(void) { return entries("/proc/self/task"); }

// Reads smaps and adds up the result of `of` for each line.
static long smaps(long (*of)(const char *line)) {
  FILE *file = fopen("/proc/self/smaps", "re");
  if (!file) return -1;
  char line[512];
  long sum = 0;
  while (fgets(line, sizeof line, file)) sum += of(line);
  fclose(file);
  return sum;
}

static long is_run_page(const char *line) { return strstr(line, "kvm-vcpu") != NULL; }
long exercise_run_pages(void) { return smaps(is_run_page); }

static long size_of_last;
static long reserved(const char *line) {
  if (sscanf(line, "Size: %ld kB", &size_of_last) == 1) return 0;
  return strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " nr") ? size_of_last : 0;
}
long exercise_guest_memory(void) { return smaps(reserved); }

int exercise_nonblocking(int descriptor) {
  return fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK);
}

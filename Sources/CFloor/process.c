#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "CLinux.h"
#include "floor.h"

extern char **environ;

long floor_process(const char *path, int program, char *const *arguments, int output, int64_t *time, int64_t *peak,
                   int *status) {
  int64_t start = linux_clock(CLOCK_MONOTONIC);
  pid_t child = fork();
  if (child == 0) {
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    if (path)
      execve(path, arguments, environ);
    else
      fexecve(program, arguments, environ);
    _exit(127);
  }
  if (child < 0) return -errno;
  struct rusage usage;
  pid_t ended;
  while ((ended = wait4(child, status, 0, &usage)) < 0 && errno == EINTR) {}
  *time = linux_clock(CLOCK_MONOTONIC) - start;
  *peak = (int64_t)usage.ru_maxrss << 10;
  return ended == child ? 0 : -errno;
}

static long write_all(int file, const void *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    long result = linux_write(file, (const char *)bytes + done, count - done);
    if (result < 0 && result != -EINTR) return result;
    if (result > 0) done += (size_t)result;
  }
  return 0;
}

long floor_memory_file(const void *bytes, size_t count) {
  int file = memfd_create("floor", MFD_CLOEXEC);
  if (file < 0) return -errno;
  long result = write_all(file, bytes, count);
  if (result < 0) {
    close(file);
    return result;
  }
  return file;
}

long floor_own_path(char *path, size_t size) {
  ssize_t length = readlink("/proc/self/exe", path, size - 1);
  if (length < 0) return -errno;
  path[length] = 0;
  return 0;
}

long floor_temporary_file(char *template, const void *bytes, size_t count) {
  int file = mkostemp(template, O_CLOEXEC);
  if (file < 0) return -errno;
  long result = write_all(file, bytes, count);
  close(file);
  if (result < 0) unlink(template);
  return result;
}

long floor_remove_file(const char *path) { return linux_result(unlink(path)); }

long floor_resident(int64_t *bytes) {
  char text[128] = {0};
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return -errno;
  long result = linux_read(file, text, sizeof text - 1);
  close(file);
  if (result < 0) return result;
  // In pages: the whole size, then what is resident (proc(5)).
  char *next;
  strtol(text, &next, 10);
  *bytes = strtol(next, NULL, 10) * (int64_t)sysconf(_SC_PAGESIZE);
  return 0;
}

bool floor_is_terminal(int file) { return isatty(file); }

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "CLinux.h"
#include "baseline.h"
#include "linux_daemon.h"

extern char **environ;

static long write_all(int file, const void *bytes, size_t count) {
  for (size_t done = 0; done < count;) {
    long result = linux_write(file, (const char *)bytes + done, count - done);
    if (result < 0 && result != -EINTR) return result;
    if (result > 0) done += (size_t)result;
  }
  return 0;
}

// In a child: executes a program (that of an open descriptor if `path` is NULL).
static void become(const char *path, int program, char *const *arguments, int output) {
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  if (path)
    execve(path, arguments, environ);
  else
    fexecve(program, arguments, environ);
  _exit(127);
}

long baseline_process(const char *path, int program, char *const *arguments, int output, int64_t *time, int *status) {
  int64_t start = linux_clock(CLOCK_MONOTONIC);
  pid_t child = fork();
  if (child == 0) become(path, program, arguments, output);
  if (child < 0) return -errno;
  pid_t ended;
  while ((ended = waitpid(child, status, 0)) < 0 && errno == EINTR) {}
  *time = linux_clock(CLOCK_MONOTONIC) - start;
  return ended == child ? 0 : -errno;
}

// Reads the number of KiB after a name in a file of a process's directory in /proc.
static long read_kib(pid_t process, const char *file, const char *name, int64_t *bytes) {
  char path[64], text[4096];
  snprintf(path, sizeof path, "/proc/%d/%s", (int)process, file);
  int opened = open(path, O_RDONLY | O_CLOEXEC);
  if (opened < 0) return -errno;
  long count = linux_read(opened, text, sizeof text - 1);
  close(opened);
  if (count < 0) return count;
  text[count] = 0;
  const char *found = strstr(text, name);
  if (!found) return -ENODATA;
  *bytes = strtoll(found + strlen(name), NULL, 10) << 10;
  return 0;
}

// From the page tables or, if this user cannot read them because the process hides its memory, from the kernel's
// counters.
static long read_resident(pid_t process, int64_t *bytes) {
  long result = read_kib(process, "smaps_rollup", "\nRss:", bytes);
  return result < 0 ? read_kib(process, "status", "\nVmRSS:", bytes) : result;
}

long baseline_process_memory(const char *path, int program, char *const *arguments, int output, int64_t *bytes,
                          int *status) {
  pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0) _exit(126);
    become(path, program, arguments, output);
  }
  if (child < 0) return -errno;
  long result = -ENODATA; // until its exit is seen
  bool is_reported = false;
  for (;;) {
    if (waitpid(child, status, 0) < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    if (!WIFSTOPPED(*status)) return WIFEXITED(*status) && WEXITSTATUS(*status) == 0 ? result : 0;
    int signal = WSTOPSIG(*status);
    if (!is_reported) { // exec has succeeded
      is_reported = true, signal = 0;
      if (ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL) < 0) result = -errno;
    } else if (*status >> 16 == PTRACE_EVENT_EXIT) {
      signal = 0;
      result = read_resident(child, bytes);
    }
    ptrace(PTRACE_CONT, child, NULL, (void *)(intptr_t)signal);
  }
}

long baseline_start(const char *path, char *const *arguments, int output) {
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    execve(path, arguments, environ);
    _exit(127);
  }
  return linux_result(child);
}

long baseline_end(long process, int signal) {
  kill((pid_t)process, signal);
  int status;
  while (waitpid((pid_t)process, &status, 0) < 0)
    if (errno != EINTR) return -errno;
  return 0;
}

// A process with a VM, which reports when it is ready.
static void hold_machine(int report) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  char result = baseline_hold(1) == 0;
  linux_write(report, &result, 1);
  for (;;) pause();
}

long baseline_kill(int64_t *times, long count) {
  for (long i = 0; i < count; i++) {
    int ends[2];
    if (pipe(ends) < 0) return -errno;
    pid_t child = fork();
    if (child == 0) hold_machine(ends[1]);
    int error = errno;
    close(ends[1]);
    char has_machine = 0;
    if (child > 0) linux_read(ends[0], &has_machine, 1);
    close(ends[0]);
    if (child < 0) return -error;
    int64_t begin = linux_clock(CLOCK_MONOTONIC);
    long result = baseline_end(child, SIGKILL);
    times[i] = linux_clock(CLOCK_MONOTONIC) - begin;
    if (result < 0 || !has_machine) return result < 0 ? result : -ECHILD;
  }
  return 0;
}

// The text between two others; NULL if they are not found.
static const char *between(const char *text, const char *before, const char *behind, size_t *count) {
  const char *start = strstr(text, before), *end = start ? strstr(start, behind) : NULL;
  if (!end) return NULL;
  start += strlen(before);
  *count = (size_t)(end - start);
  return start;
}

// Answers {"method":"…","params":[X],"id":N} with {"id":N,"result":X,"error":null}, each in a line.
static void answer_requests(int connection) {
  char request[1024], response[sizeof request + 64];
  long count;
  while ((count = linux_read(connection, request, sizeof request - 1)) > 0) {
    request[count] = 0;
    size_t id_length, result_length;
    const char *id = between(request, "\"id\":", "}", &id_length);
    const char *result = between(request, "\"params\":[", "],\"id\"", &result_length);
    if (!id || !result) return;
    char *end = stpcpy(response, "{\"id\":");
    end = mempcpy(end, id, id_length);
    end = stpcpy(end, ",\"result\":");
    end = mempcpy(end, result, result_length);
    end = stpcpy(end, ",\"error\":null}\n");
    if (write_all(connection, response, (size_t)(end - response)) < 0) return;
  }
}

long baseline_echo_peer(const char *path) {
  long listener = linux_listen_at(path, 0600);
  if (listener < 0) return listener;
  pid_t child = fork();
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct pollfd waits = {.fd = (int)listener, .events = POLLIN};
    while (poll(&waits, 1, -1) > 0) {
      int connection = accept((int)listener, NULL, NULL);
      if (connection < 0) continue;
      answer_requests(connection);
      close(connection);
    }
    _exit(1);
  }
  int error = errno;
  close((int)listener);
  return child < 0 ? -error : child;
}

long baseline_memory_file(const void *bytes, size_t count) {
  int file = memfd_create("baseline", MFD_CLOEXEC);
  if (file < 0) return -errno;
  long result = write_all(file, bytes, count);
  if (result < 0) {
    close(file);
    return result;
  }
  return file;
}

long baseline_own_path(char *path, size_t size) {
  ssize_t length = readlink("/proc/self/exe", path, size - 1);
  if (length < 0) return -errno;
  path[length] = 0;
  return 0;
}

long baseline_temporary_file(char *template, const void *bytes, size_t count) {
  int file = mkostemp(template, O_CLOEXEC);
  if (file < 0) return -errno;
  long result = write_all(file, bytes, count);
  close(file);
  if (result < 0) unlink(template);
  return result;
}

long baseline_temporary_directory(char *template) { return mkdtemp(template) ? 0 : -errno; }

long baseline_empty_file(int file) { return linux_result(ftruncate(file, 0)); }

long baseline_remove_file(const char *path) { return linux_result(unlink(path)); }

long baseline_resident(int64_t *bytes) {
  char text[128] = {0};
  int file = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (file < 0) return -errno;
  long result = linux_read(file, text, sizeof text - 1);
  close(file);
  if (result < 0) return result;
  // In pages: total size, then resident size (proc(5)).
  char *next;
  strtol(text, &next, 10);
  *bytes = strtol(next, NULL, 10) * (int64_t)sysconf(_SC_PAGESIZE);
  return 0;
}

bool baseline_is_terminal(int file) { return isatty(file); }

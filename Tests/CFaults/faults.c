#define _GNU_SOURCE
#include "faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST = 4096 };

static atomic_long noted;
static atomic_bool is_on;
static long failing;
static int failing_error;
static enum host_call calls[MOST];

int count_entries(const char *folder) {
  DIR *stream = opendir(folder);
  if (!stream) return -1;
  int count = 0;
  for (struct dirent *entry; (entry = readdir(stream));) count += entry->d_name[0] != '.';
  closedir(stream);
  return count;
}

void setvbuf_lines(void) { setvbuf(stdout, NULL, _IOLBF, 0); }

void faults_begin(long number, int error) {
  failing = number;
  failing_error = error;
  atomic_store(&noted, 0);
  atomic_store(&is_on, 1);
}

long faults_end(void) {
  atomic_store(&is_on, 0);
  return atomic_load(&noted);
}

enum host_call faults_call(long number) {
  return number >= 0 && number < MOST && number < atomic_load(&noted) ? calls[number] : HOST_CALLS;
}

const char *faults_name(enum host_call call) {
  static const char *const names[] = {"open", "read", "write", "ppoll", "eventfd", "sigaction", "pthread_create",
                                      "getrandom", "madvise", "timer_create", "timer_settime"};
  return call < HOST_CALLS ? names[call] : "none";
}

// The error that this call is to fail with, or 0.
static int fault(enum host_call call) {
  if (!atomic_load(&is_on)) return 0;
  long number = atomic_fetch_add(&noted, 1);
  if (number < MOST) calls[number] = call;
  return number == failing ? failing_error : 0;
}

#define FAIL(call)           \
  do {                       \
    int error = fault(call); \
    if (error) {             \
      errno = error;         \
      return -1;             \
    }                        \
  } while (0)

// The C library's own, which these functions stand before.
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

typedef long any_call(long, ...);
static any_call *found_syscall;
// Found when it is needed first: other libraries' constructors come before this program's.
static any_call *find_syscall(void) {
  if (!found_syscall) found_syscall = (any_call *)real("syscall");
  return found_syscall;
}
#define real_syscall find_syscall()

int open(const char *path, int flags, ...) {
  va_list list;
  va_start(list, flags);
  int mode = va_arg(list, int);
  va_end(list);
  FAIL(HOST_OPEN);
  return (int)real_syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t read(int fd, void *to, size_t count) {
  FAIL(HOST_READ);
  return real_syscall(SYS_read, fd, to, count);
}

ssize_t write(int fd, const void *from, size_t count) {
  FAIL(HOST_WRITE);
  return real_syscall(SYS_write, fd, from, count);
}

int ppoll(struct pollfd *wanted, nfds_t count, const struct timespec *limit, const sigset_t *mask) {
  FAIL(HOST_POLL);
  // The kernel changes its copy of the limit.
  struct timespec copy;
  if (limit) copy = *limit;
  return (int)real_syscall(SYS_ppoll, wanted, count, limit ? &copy : NULL, mask, _NSIG / 8);
}

int eventfd(unsigned count, int flags) {
  FAIL(HOST_EVENTFD);
  return (int)real_syscall(SYS_eventfd2, count, flags);
}

int sigaction(int number, const struct sigaction *new, struct sigaction *old) {
  FAIL(HOST_SIGACTION);
  int (*next)(int, const struct sigaction *, struct sigaction *) = real("sigaction");
  return next(number, new, old);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
  int error = fault(HOST_THREAD);
  if (error) return error;
  int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = real("pthread_create");
  return next(thread, attributes, body, argument);
}

ssize_t getrandom(void *to, size_t count, unsigned flags) {
  FAIL(HOST_GETRANDOM);
  return real_syscall(SYS_getrandom, to, count, flags);
}

int madvise(void *address, size_t length, int advice) {
  FAIL(HOST_MADVISE);
  return (int)real_syscall(SYS_madvise, address, length, advice);
}

// Arguments that the caller has not given are whatever is there.
__attribute__((no_sanitize("address"))) long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long), d = va_arg(list, long);
  long e = va_arg(list, long), f = va_arg(list, long);
  va_end(list);
  if (number == SYS_timer_create) FAIL(HOST_TIMER_CREATE);
  if (number == SYS_timer_settime) FAIL(HOST_TIMER_SET);
  return real_syscall(number, a, b, c, d, e, f);
}

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"

#include <sys/file.h>

long linux_flock(int fd, int exclusive) {
  // A lock of the open file description, not of the process: it also excludes another open file in the same process.
  return linux_result(flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB));
}

long linux_transfer(int fd, bool write, void *bytes, size_t count, long offset) {
  size_t done = 0;
  while (done < count) {
    char *at = (char *)bytes + done;
    long at_offset = offset + (long)done;
    ssize_t n = write ? pwrite(fd, at, count - done, at_offset) : pread(fd, at, count - done, at_offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -(long)errno;
    if (n == 0) break;
    done += n;
  }
  return (long)done;
}

// Indexed by signal number: the event, plus one.
static volatile int watched[65];

static void arrived(int signal) {
  int before = errno;
  if (watched[signal]) eventfd_write(watched[signal] - 1, 1);
  errno = before;
}

long linux_watch_signal(int signal, int event) {
  if (signal < 1 || signal > 64) return -EINVAL;
  watched[signal] = event + 1;
  // The handler stays installed without an effect, since the sandbox forbids to change it.
  if (event < 0) return 0;
  struct sigaction action = {.sa_handler = arrived, .sa_flags = SA_RESTART};
  return linux_result(sigaction(signal, &action, NULL));
}

static int name(struct sockaddr_un *address, const char *path) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  if (strlen(path) >= sizeof address->sun_path) return -ENAMETOOLONG;
  strcpy(address->sun_path, path);
  return 0;
}

// Whether a file is a socket without a listener.
static int is_abandoned(const struct sockaddr_un *address) {
  struct stat status;
  if (lstat(address->sun_path, &status) < 0 || !S_ISSOCK(status.st_mode)) return 0;
  // The listener's queue may be full: do not wait.
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return 0;
  int abandoned = connect(fd, (const struct sockaddr *)address, sizeof *address) < 0 && errno == ECONNREFUSED;
  close(fd);
  return abandoned;
}

long linux_listen(const char *path) {
  struct sockaddr_un address;
  long result = name(&address, path);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -(long)errno;
  if (is_abandoned(&address)) unlink(path);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4) < 0) {
    result = -(long)errno;
    close(fd);
    return result;
  }
  return fd;
}

long linux_socket_remover(const char *paths) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return -(long)errno;
  pid_t process = fork();
  if (process != 0) {
    int error = errno;
    close(ends[1]);
    if (process < 0) close(ends[0]);
    return process < 0 ? -(long)error : ends[0];
  }
  // Signals to the process group are for the main process, whose end this one must survive.
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, NULL);
  // This process must not keep pipes open.
  if (dup2(ends[1], 0) < 0) _exit(1);
  linux_close_range(1);
  char byte;
  // A byte, or the end of file.
  while (read(0, &byte, 1) < 0 && errno == EINTR) {
  }
  struct sockaddr_un address;
  for (; *paths; paths += strlen(paths) + 1)
    if (name(&address, paths) == 0 && is_abandoned(&address)) unlink(paths);
  _exit(0);
}

void linux_remove_sockets(int remover) {
  char byte = 0;
  if (write(remover, &byte, 1) == 1)
    while (read(remover, &byte, 1) < 0 && errno == EINTR) {
    }
}

long linux_accept(int fd) { return linux_result(accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)); }

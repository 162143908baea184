#define _GNU_SOURCE
#include "faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST = 4096, PIDFD_OPEN = 434, CLOSE_RANGE = 436, LANDLOCK_CREATE = 444, LANDLOCK_RESTRICT = 446 };

static atomic_long noted;
static atomic_bool is_on;
static atomic_long seen;
static enum host_call failing_call;
static long failing;
static int failing_error;
static enum host_call calls[MOST];
static bool has_hit, is_child;

int count_entries(const char *directory) {
  DIR *stream = opendir(directory);
  if (!stream) return -1;
  int count = 0;
  for (struct dirent *entry; (entry = readdir(stream));) count += entry->d_name[0] != '.';
  closedir(stream);
  return count;
}

bool has_children(void) { return waitpid(-1, NULL, WNOHANG) != -1; }

void setvbuf_lines(void) { setvbuf(stdout, NULL, _IOLBF, 0); }

void faults_begin(enum host_call call, long number, int error) {
  failing_call = call;
  failing = number;
  atomic_store(&seen, 0);
  failing_error = error;
  has_hit = false;
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
                                      "getrandom", "madvise", "timer_create", "timer_settime", "fstat", "pread",
                                      "socket", "bind", "listen", "flock", "mkdir", "rename", "pipe2", "signalfd",
                                      "inotify_init1", "accept4", "recvmsg", "sendmsg", "execve", "fcntl", "dup2",
                                      "pidfd_open", "connect", "mkfifo", "pwrite", "fdatasync", "fallocate", "send",
                                      "lseek", "socketpair", "fork", "close_range", "capset", "prctl",
                                      "landlock_create_ruleset", "landlock_restrict_self", "setgroups", "setresgid",
                                      "setresuid", "vfork"};
  return call < HOST_CALLS ? names[call] : "none";
}

// The error with which this call is to fail, or 0.
static int fault(enum host_call call) {
  if (!atomic_load(&is_on)) return 0;
  long number = atomic_fetch_add(&noted, 1);
  if (number < MOST) calls[number] = call;
  if (call != failing_call || atomic_fetch_add(&seen, 1) != failing) return 0;
  has_hit = true;
  return failing_error;
}

#define FAIL(call)           \
  do {                       \
    int error = fault(call); \
    if (error) {             \
      errno = error;         \
      return -1;             \
    }                        \
  } while (0)

// The functions of the C library that these replace.
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

typedef long any_call(long, ...);
static any_call *found_syscall;
// Resolved at the first use: constructors of other libraries run before those of this program.
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

int poll(struct pollfd *wanted, nfds_t count, int milliseconds) {
  FAIL(HOST_POLL);
  struct timespec limit = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000l};
  return (int)real_syscall(SYS_ppoll, wanted, count, milliseconds < 0 ? NULL : &limit, NULL, _NSIG / 8);
}

int fstat(int fd, struct stat *status) {
  FAIL(HOST_STAT);
  return (int)real_syscall(SYS_fstat, fd, status);
}

ssize_t pread(int fd, void *to, size_t count, off_t offset) {
  FAIL(HOST_PREAD);
  return real_syscall(SYS_pread64, fd, to, count, offset);
}

ssize_t pwrite(int fd, const void *from, size_t count, off_t offset) {
  FAIL(HOST_PWRITE);
  return real_syscall(SYS_pwrite64, fd, from, count, offset);
}

int fdatasync(int fd) {
  FAIL(HOST_SYNC);
  return (int)real_syscall(SYS_fdatasync, fd);
}

int fallocate(int fd, int mode, off_t offset, off_t count) {
  FAIL(HOST_FALLOCATE);
  return (int)real_syscall(SYS_fallocate, fd, mode, offset, count);
}

off_t lseek(int fd, off_t offset, int from) {
  FAIL(HOST_SEEK);
  return real_syscall(SYS_lseek, fd, offset, from);
}

ssize_t send(int fd, const void *from, size_t count, int flags) {
  FAIL(HOST_SENDTO);
  return real_syscall(SYS_sendto, fd, from, count, flags, NULL, 0);
}

int socketpair(int domain, int type, int protocol, int ends[2]) {
  FAIL(HOST_SOCKETPAIR);
  return (int)real_syscall(SYS_socketpair, domain, type, protocol, ends);
}

pid_t fork(void) {
  FAIL(HOST_FORK);
  pid_t (*next)(void) = (pid_t(*)(void))real("fork");
  return next();
}

// The child returns from here before the parent does, on the same stack: only a jump leaves no frame of this function.
pid_t vfork(void) {
  FAIL(HOST_VFORK);
  pid_t (*next)(void) = (pid_t(*)(void))real("vfork");
  __attribute__((musttail)) return next();
}

int prctl(int what, ...) {
  va_list list;
  va_start(list, what);
  long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long), d = va_arg(list, long);
  va_end(list);
  FAIL(HOST_PROCESS_CONTROL);
  return what == PR_SET_SECCOMP && is_child ? 0 : (int)real_syscall(SYS_prctl, what, a, b, c, d);
}

int setgroups(size_t count, const gid_t *list) {
  FAIL(HOST_SET_GROUPS);
  return (int)real_syscall(SYS_setgroups, count, list);
}

int setresgid(gid_t real_id, gid_t effective, gid_t saved) {
  FAIL(HOST_SET_GROUP);
  return (int)real_syscall(SYS_setresgid, real_id, effective, saved);
}

int setresuid(uid_t real_id, uid_t effective, uid_t saved) {
  FAIL(HOST_SET_USER);
  return (int)real_syscall(SYS_setresuid, real_id, effective, saved);
}

bool has_failed(void) { return has_hit; }

int in_child(int (*body)(void)) {
  pid_t (*next)(void) = (pid_t(*)(void))real("fork");
  fflush(NULL);
  pid_t process = next();
  if (process == 0) {
    is_child = true;
    _exit(body());
  }
  int status;
  if (process < 0 || waitpid(process, &status, 0) < 0) return -1;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int socket(int domain, int type, int protocol) {
  FAIL(HOST_SOCKET);
  return (int)real_syscall(SYS_socket, domain, type, protocol);
}

int bind(int fd, const struct sockaddr *address, socklen_t size) {
  FAIL(HOST_BIND);
  return (int)real_syscall(SYS_bind, fd, address, size);
}

int listen(int fd, int backlog) {
  FAIL(HOST_LISTEN);
  return (int)real_syscall(SYS_listen, fd, backlog);
}

int flock(int fd, int operation) {
  FAIL(HOST_LOCK);
  return (int)real_syscall(SYS_flock, fd, operation);
}

int mkdir(const char *path, mode_t mode) {
  FAIL(HOST_MKDIR);
  return (int)real_syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int mkfifo(const char *path, mode_t mode) {
  FAIL(HOST_FIFO);
  return (int)real_syscall(SYS_mknodat, AT_FDCWD, path, mode | S_IFIFO, 0);
}

int rename(const char *from, const char *to) {
  FAIL(HOST_RENAME);
  return (int)real_syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int pipe2(int ends[2], int flags) {
  FAIL(HOST_PIPE);
  return (int)real_syscall(SYS_pipe2, ends, flags);
}

int signalfd(int fd, const sigset_t *mask, int flags) {
  FAIL(HOST_SIGNALFD);
  return (int)real_syscall(SYS_signalfd4, fd, mask, _NSIG / 8, flags);
}

int inotify_init1(int flags) {
  FAIL(HOST_INOTIFY);
  return (int)real_syscall(SYS_inotify_init1, flags);
}

int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
  FAIL(HOST_ACCEPT);
  return (int)real_syscall(SYS_accept4, fd, address, size, flags);
}

int connect(int fd, const struct sockaddr *address, socklen_t size) {
  FAIL(HOST_CONNECT);
  return (int)real_syscall(SYS_connect, fd, address, size);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
  FAIL(HOST_RECEIVE);
  return real_syscall(SYS_recvmsg, fd, message, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  FAIL(HOST_SEND);
  return real_syscall(SYS_sendmsg, fd, message, flags);
}

int execve(const char *path, char *const words[], char *const variables[]) {
  FAIL(HOST_EXEC);
  return (int)real_syscall(SYS_execve, path, words, variables);
}

int dup2(int from, int to) {
  FAIL(HOST_DUPLICATE);
  return (int)real_syscall(SYS_dup3, from, to, 0);
}

int fcntl(int fd, int command, ...) {
  va_list list;
  va_start(list, command);
  long argument = va_arg(list, long);
  va_end(list);
  FAIL(HOST_CONTROL);
  return (int)real_syscall(SYS_fcntl, fd, command, argument);
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

typedef int create_thread(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
// That of the address sanitizer, if the program is built with it, which records threads.
extern create_thread __interceptor_pthread_create __attribute__((weak));

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument) {
  int error = fault(HOST_THREAD);
  if (error) return error;
  create_thread *next = __interceptor_pthread_create ?: (create_thread *)real("pthread_create");
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

// Arguments that the caller has not passed have any value.
__attribute__((no_sanitize("address"))) long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long), d = va_arg(list, long);
  long e = va_arg(list, long), f = va_arg(list, long);
  va_end(list);
  if (number == PIDFD_OPEN) FAIL(HOST_PIDFD);
  if (number == SYS_openat) FAIL(HOST_OPEN);
  if (number == CLOSE_RANGE) FAIL(HOST_CLOSE_RANGE);
  if (number == SYS_capset) FAIL(HOST_CAPABILITIES);
  if (number == LANDLOCK_CREATE) FAIL(HOST_LANDLOCK_CREATE);
  if (number == LANDLOCK_RESTRICT) FAIL(HOST_LANDLOCK_RESTRICT);
  if (number == SYS_timer_create) FAIL(HOST_TIMER_CREATE);
  if (number == SYS_timer_settime) FAIL(HOST_TIMER_SET);
  return real_syscall(number, a, b, c, d, e, f);
}

long client_connect(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  long fd = real_syscall(SYS_socket, AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0 || real_syscall(SYS_connect, fd, &address, sizeof address) == 0) return fd;
  client_close((int)fd);
  return -1;
}

long client_send(int fd, const void *from, size_t count) {
  return real_syscall(SYS_sendto, fd, from, count, MSG_NOSIGNAL, NULL, 0);
}

long client_receive(int fd, void *to, size_t count) { return real_syscall(SYS_recvfrom, fd, to, count, 0, NULL, NULL); }

void client_close(int fd) { real_syscall(SYS_close, fd); }

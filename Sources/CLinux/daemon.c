#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"

#include <dirent.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>

enum { PIDFD_SEND_SIGNAL = 424, PIDFD_OPEN = 434, CLOSE_RANGE = 436, MOST_DESCRIPTORS = 16 };

// When the calling process began, as /proc has it: field 22, behind a name in parentheses that may hold anything.
static int64_t began_at(void) {
  char text[1024];
  int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) close(fd);
  if (size <= 0) return 0;
  text[size] = 0;
  char *at = strrchr(text, ')');
  for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
  return at ? strtoll(at, NULL, 10) : 0;
}

// Writes down which process the calling one is, for whoever has to know it again: as a whole or not at all.
static int write_identity(const char *file, int64_t began) {
  char new[4200], text[64];
  if (snprintf(new, sizeof new, "%s.new", file) >= (int)sizeof new) return ENAMETOOLONG;
  int size = snprintf(text, sizeof text, "{\"pid\":%d,\"began\":%lld}\n", getpid(), (long long)began);
  int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return errno;
  ssize_t written = write(fd, text, (size_t)size);
  int error = written < 0 ? errno : written < size ? ENOSPC : 0;
  close(fd);
  if (!error && rename(new, file) < 0) error = errno;
  if (error) unlink(new);
  return error;
}

long linux_spawn(const char *path, char *const *words, const int *fds, int count, int group, const char *identity,
                 int64_t *began) {
  static char *const none[] = {NULL};
  if (count > MOST_DESCRIPTORS) return -EINVAL;
  volatile int failure = 0;
  volatile int64_t beginning = 0;
  sigset_t all, before;
  sigfillset(&all);
  // No handler of the parent's may run in the child, which uses the parent's memory until it has become another program.
  sigprocmask(SIG_SETMASK, &all, &before);
  pid_t pid = vfork();
  if (pid == 0) {
    if (group >= 0 && write(group, "0", 1) < 0) failure = errno;
    int moved[MOST_DESCRIPTORS];
    // First out of the way of each other, then into place.
    for (int fd = 0; fd < count && !failure; fd++) {
      moved[fd] = fcntl(fds[fd], F_DUPFD, MOST_DESCRIPTORS);
      if (moved[fd] < 0) failure = errno;
    }
    for (int fd = 0; fd < count && !failure; fd++)
      if (dup2(moved[fd], fd) < 0) failure = errno;
    if (!failure) {
      syscall(CLOSE_RANGE, count, ~0u, 0);
      setsid();
      // Before anything else: whatever becomes of the caller, no process goes on that nobody knows of.
      beginning = began_at();
      failure = write_identity(identity, beginning);
    }
    if (!failure) {
      // Who reads what it writes, a report or a log, may be gone. Of all that is set for signals, this alone outlives the exec.
      signal(SIGPIPE, SIG_IGN);
      sigset_t nothing;
      sigemptyset(&nothing);
      sigprocmask(SIG_SETMASK, &nothing, NULL);
      execve(path, words, none);
      failure = errno;
    }
    _exit(127);
  }
  int error = errno;
  sigprocmask(SIG_SETMASK, &before, NULL);
  if (pid < 0) return -(long)error;
  if (failure) {
    waitpid(pid, NULL, 0);
    return -(long)failure;
  }
  *began = beginning;
  return pid;
}

bool linux_is_delegated(const char *path) {
  char value[8];
  // Programs without CAP_SYS_ADMIN do not see the second; systemd before 251 sets no other.
  ssize_t size = getxattr(path, "user.delegate", value, sizeof value);
  if (size < 0) size = getxattr(path, "trusted.delegate", value, sizeof value);
  return size == 1 && value[0] == '1';
}

long linux_reap(int *status) {
  pid_t pid = waitpid(-1, status, WNOHANG);
  return pid < 0 && errno == ECHILD ? 0 : linux_result(pid);
}

int linux_status_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
int linux_status_signal(int status) { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }

long linux_kill(int pid, int signal) { return linux_result(kill(pid, signal)); }
long linux_pidfd(int pid) { return linux_result(syscall(PIDFD_OPEN, pid, 0)); }
long linux_pidfd_kill(int pidfd, int signal) {
  return linux_result(syscall(PIDFD_SEND_SIGNAL, pidfd, signal, NULL, 0));
}

long linux_signals(void) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGCHLD);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, SIGHUP);
  sigprocmask(SIG_BLOCK, &wanted, NULL);
  signal(SIGPIPE, SIG_IGN);
  return linux_result(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
}

long linux_next_signal(int fd) {
  struct signalfd_siginfo info;
  return read(fd, &info, sizeof info) == sizeof info ? (long)info.ssi_signo : 0;
}

static bool set_address(struct sockaddr_un *address, const char *path) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address->sun_path) return false;
  strcpy(address->sun_path, path);
  return true;
}

long linux_listen_at(const char *path, unsigned mode) {
  struct sockaddr_un address;
  if (!set_address(&address, path)) return -ENAMETOOLONG;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -(long)errno;
  mode_t before = umask(~mode & 0777);
  int failed = bind(fd, (struct sockaddr *)&address, sizeof address) < 0;
  struct stat status;
  // What is there is removed where it is a socket, whose listener is gone or was asked before, and nothing else.
  if (failed && errno == EADDRINUSE && lstat(path, &status) == 0) {
    errno = EADDRINUSE;
    if (S_ISSOCK(status.st_mode) && unlink(path) == 0)
      failed = bind(fd, (struct sockaddr *)&address, sizeof address) < 0;
  }
  if (!failed) failed = listen(fd, 128) < 0;
  int error = errno;
  umask(before);
  if (failed) close(fd);
  return failed ? -(long)error : fd;
}

long linux_connect(const char *path, bool wait) {
  struct sockaddr_un address;
  if (!set_address(&address, path)) return -ENAMETOOLONG;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
  if (fd < 0) return -(long)errno;
  if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
  int error = errno;
  close(fd);
  return -(long)error;
}

void linux_end_sending(int fd) { shutdown(fd, SHUT_WR); }

long linux_take_listener(int fd) {
  int domain = 0, listens = 0;
  socklen_t size = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0) return -(long)errno;
  size = sizeof listens;
  if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) < 0) return -(long)errno;
  if (domain != AF_UNIX || !listens) return -ENOTSOCK;
  fcntl(fd, F_SETFD, FD_CLOEXEC);
  return linux_result(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK));
}

long linux_peer(int fd, int *pid, unsigned *user, unsigned *group) {
  struct ucred who;
  socklen_t size = sizeof who;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0) return -(long)errno;
  *pid = who.pid;
  *user = who.uid;
  *group = who.gid;
  return 0;
}

bool linux_peer_in_group(int fd, unsigned group) {
  enum { PEERGROUPS = 59 };  // SO_PEERGROUPS, since Linux 4.13
  gid_t groups[256];
  socklen_t size = sizeof groups;
  if (getsockopt(fd, SOL_SOCKET, PEERGROUPS, groups, &size) < 0) return false;
  for (size_t index = 0; index < size / sizeof groups[0]; index++)
    if (groups[index] == group) return true;
  return false;
}

union control {
  struct cmsghdr header;
  char room[CMSG_SPACE(MOST_DESCRIPTORS * sizeof(int))];
};

long linux_receive(int fd, void *to, size_t size, int *fds, int *count) {
  union control control;
  struct iovec part = {to, size};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof control.room};
  int room = *count;
  *count = 0;
  long result = linux_result(recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
  if (result < 0) return result;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    int came[MOST_DESCRIPTORS];
    size_t number = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(came, CMSG_DATA(header), number * sizeof(int));
    for (size_t index = 0; index < number; index++) {
      if (*count < room)
        fds[(*count)++] = came[index];
      else
        close(came[index]);
    }
  }
  return result;
}

long linux_send_with(int fd, const void *from, size_t size, int descriptor) {
  union control control;
  struct iovec part = {(void *)from, size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (descriptor >= 0) {
    message.msg_control = control.room;
    message.msg_controllen = CMSG_SPACE(sizeof descriptor);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  return linux_result(sendmsg(fd, &message, MSG_NOSIGNAL));
}

long linux_notify(const char *text) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un address;
  if (!path || !set_address(&address, path)) return 0;
  socklen_t size = offsetof(struct sockaddr_un, sun_path) + strlen(path);
  // A name outside the file system begins with a zero byte, written as "@".
  if (path[0] == '@') address.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -(long)errno;
  long result = linux_result(sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, size));
  close(fd);
  return result;
}

int linux_handed_over(void) {
  const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
  if (!pid || !count || atol(pid) != getpid()) return 0;
  int number = atoi(count);
  return number < 0 ? 0 : number > 16 ? 16 : number;
}

int linux_handed_lock(void) {
  const char *pid = getenv("SWIFTLET_LOCK");
  if (!pid || atol(pid) != getpid()) return -1;
  return fcntl(4, F_SETFD, FD_CLOEXEC) < 0 ? -1 : 4;
}

long linux_poll_for(struct pollfd *wanted, size_t count, int64_t nanoseconds) {
  struct timespec limit = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  long result = linux_result(ppoll(wanted, count, nanoseconds < 0 ? NULL : &limit, NULL));
  return result == -EINTR ? 0 : result;
}

long linux_kick_when_ready(int fd) {
  struct f_owner_ex owner = {F_OWNER_TID, (pid_t)linux_thread_id()};
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETOWN_EX, &owner) < 0 || fcntl(fd, F_SETSIG, linux_kick_signal()) < 0)
    return -(long)errno;
  return linux_result(fcntl(fd, F_SETFL, flags | O_ASYNC));
}

long linux_punch(int fd, int64_t end) {
  return linux_result(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, end));
}
long linux_make_folder(const char *path, unsigned mode) { return linux_result(mkdir(path, mode)); }
long linux_make_fifo(const char *path, unsigned mode) { return linux_result(mkfifo(path, mode)); }
long linux_rename(const char *from, const char *to) { return linux_result(rename(from, to)); }
long linux_remove_folder(const char *path) { return linux_result(rmdir(path)); }
long linux_change_mode(const char *path, unsigned mode) { return linux_result(chmod(path, mode)); }
long linux_change_owner(const char *path, unsigned user, unsigned group) {
  return linux_result(chown(path, user, group));
}
long linux_size(int fd) {
  struct stat status;
  return fstat(fd, &status) < 0 ? -(long)errno : (long)status.st_size;
}

int64_t linux_modified(const char *path) {
  struct stat status;
  if (lstat(path, &status) < 0) return 0;
  return (int64_t)status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1000000;
}

long linux_list(const char *path, void (*entry)(const char *name, void *context), void *context) {
  DIR *folder = opendir(path);
  if (!folder) return -(long)errno;
  for (struct dirent *found; (found = readdir(folder));)
    if (strcmp(found->d_name, ".") != 0 && strcmp(found->d_name, "..") != 0) entry(found->d_name, context);
  closedir(folder);
  return 0;
}

// The files themselves are read: static glibc has no getpwnam(3) worth the name.
static long look_up(const char *file, const char *name, unsigned *first, unsigned *second) {
  FILE *lines = fopen(file, "re");
  if (!lines) return -(long)errno;
  char line[1024];
  size_t length = strlen(name);
  long result = -ENOENT;
  while (result != 0 && fgets(line, sizeof line, lines)) {
    if (strncmp(line, name, length) != 0 || line[length] != ':') continue;
    char *number = strchr(line + length + 1, ':');
    if (!number) continue;
    char *end;
    *first = (unsigned)strtoul(number + 1, &end, 10);
    if (second && *end == ':') *second = (unsigned)strtoul(end + 1, NULL, 10);
    result = 0;
  }
  fclose(lines);
  return result;
}

long linux_user(const char *name, unsigned *user, unsigned *group) { return look_up("/etc/passwd", name, user, group); }
long linux_group(const char *name, unsigned *group) { return look_up("/etc/group", name, group, NULL); }
const char *linux_working_folder(void) {
  static char path[4096];
  return getcwd(path, sizeof path);
}
const char *linux_environment(const char *name) { return getenv(name); }

long linux_watcher(void) { return linux_result(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)); }
long linux_watch(int watcher, const char *path) { return linux_result(inotify_add_watch(watcher, path, IN_MODIFY)); }
long linux_unwatch(int watcher, int watch) { return linux_result(inotify_rm_watch(watcher, watch)); }

long linux_changes(int watcher, int *watches, int room) {
  _Alignas(struct inotify_event) char bytes[4096];
  if (room < (int)(sizeof bytes / sizeof(struct inotify_event))) return -EINVAL;
  ssize_t size = read(watcher, bytes, sizeof bytes);
  if (size < 0) return errno == EAGAIN ? 0 : -(long)errno;
  long count = 0;
  for (char *at = bytes; at < bytes + size;) {
    const struct inotify_event *event = (const struct inotify_event *)at;
    watches[count++] = event->wd;
    at += sizeof *event + event->len;
  }
  return count;
}

long linux_duplicate(int fd) { return linux_result(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }
long linux_pwrite(int fd, const void *from, size_t size, int64_t offset) {
  return linux_result(pwrite(fd, from, size, offset));
}
long linux_sync(int fd) { return linux_result(fdatasync(fd)); }
long linux_seek_data(int fd, int64_t offset) { return linux_result(lseek(fd, offset, SEEK_DATA)); }

long linux_make_pipe(int *reading, int *writing) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return -(long)errno;
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  *reading = ends[0];
  *writing = ends[1];
  return 0;
}

int linux_raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return INT_MAX;
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) < 0) limit.rlim_cur = before;
  return limit.rlim_cur < INT_MAX ? (int)limit.rlim_cur : INT_MAX;
}

unsigned linux_user_id(void) { return geteuid(); }
int linux_process_id(void) { return getpid(); }

bool linux_is_child(int pid) {
  siginfo_t info;
  return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

static void count_one(const char *name, void *context) {
  (void)name;
  ++*(long *)context;
}

long linux_descriptor_count(void) {
  // The list of descriptors holds that of the list itself.
  long count = -1;
  long result = linux_list("/proc/self/fd", count_one, &count);
  return result < 0 ? result : count;
}

long linux_lock_folder(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -(long)errno;
  long result = linux_lock_file(fd, 1);
  if (result == 0) return fd;
  close(fd);
  return result;
}

long linux_execute_again(int listener, int lock) {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
  if (length < 0) return -(long)errno;
  path[length] = 0;
  // Where the program was replaced, the new one is at the old path.
  char *deleted = strstr(path, " (deleted)");
  if (deleted && deleted[10] == 0) *deleted = 0;
  if (access(path, X_OK) < 0) return -(long)errno;
  // The socket goes along as systemd hands one over, and the lock behind it.
  int sockets = fcntl(listener, F_DUPFD, 5), locks = fcntl(lock, F_DUPFD, 5);
  if (sockets < 0 || locks < 0) {
    int error = errno;
    if (sockets >= 0) close(sockets);
    return -(long)error;
  }
  dup2(sockets, 3);
  dup2(locks, 4);
  syscall(CLOSE_RANGE, 5, ~0u, 0);
  // The words are found by the environment, which moves when it is added to.
  char **words = linux_arguments();
  char number[16];
  snprintf(number, sizeof number, "%d", getpid());
  // The name tells the program that it is its own socket, to be removed at its end (DaemonOptions.ownSocketName).
  if (linux_handed_over() == 0) setenv("LISTEN_FDNAMES", "swiftlet-own", 1);
  setenv("LISTEN_PID", number, 1);
  setenv("LISTEN_FDS", "1", 1);
  setenv("SWIFTLET_LOCK", number, 1);
  execv(path, words);
  _exit(123);
}

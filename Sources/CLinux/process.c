// Processes: start, end, and signals.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"

#include <elf.h>
#include <limits.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <sys/xattr.h>

enum {
  PIDFD_SEND_SIGNAL = 424,
  PIDFD_OPEN = 434,
  CLOSE_RANGE = 436,
  CLOSE_RANGE_CLOSE_ON_EXEC = 4,  // CLOSE_RANGE_CLOEXEC, since Linux 5.11
};

// Reads /proc/PID/stat. Returns the text from the third field on, after its name in parentheses, which may contain any
// character; `text` holds it.
static long read_stat(int pid, char *text, size_t size, char **fields) {
  char path[32];
  if (pid) snprintf(path, sizeof path, "/proc/%d/stat", pid);
  int fd = open(pid ? path : "/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -errno;
  ssize_t count = read(fd, text, size - 1);
  int error = count < 0 ? errno : 0;
  close(fd);
  if (error) return -error;
  text[count] = 0;
  char *at = strrchr(text, ')');
  if (!at || at[1] != ' ' || !at[2]) return -EBADMSG;
  *fields = at + 2;
  return 0;
}

long linux_process_stat(int pid, char *state, int64_t *began) {
  char text[1024], *at;
  long result = read_stat(pid, text, sizeof text, &at);
  if (result < 0) return result;
  *state = *at;
  for (int field = 3; at && field < 22; field++) at = strchr(at + 1, ' ');
  if (!at) return -EBADMSG;
  *began = strtoll(at, NULL, 10);
  return 0;
}

long linux_process_usage(int pid, struct linux_usage *usage) {
  enum { USER = 14, SYSTEM = 15, BEGAN = 22, RESIDENT = 24, GUEST = 43 };
  char text[1024], *at;
  int64_t values[GUEST + 1] = {0};
  long result = read_stat(pid, text, sizeof text, &at);
  if (result < 0) return result;
  for (int field = 3; field < GUEST; field++) {
    at = strchr(at, ' ');
    if (!at) return -EBADMSG;
    values[field + 1] = strtoll(++at, NULL, 10);
  }
  // The time of the guest is part of the time in user mode.
  int64_t tick = 1000 / sysconf(_SC_CLK_TCK);
  *usage = (struct linux_usage){.began = values[BEGAN],
                                .cpu = (values[USER] + values[SYSTEM]) * tick,
                                .guest = values[GUEST] * tick,
                                .resident = values[RESIDENT] * linux_page_size()};
  return 0;
}

long linux_replace_file(const char *path, const void *bytes, size_t count) {
  char new[4200];
  if (snprintf(new, sizeof new, "%s.new", path) >= (int)sizeof new) return -ENAMETOOLONG;
  int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return -errno;
  int error = 0;
  for (size_t done = 0; done < count && !error;) {
    ssize_t written = write(fd, (const char *)bytes + done, count - done);
    if (written > 0)
      done += (size_t)written;
    else if (written == 0 || errno != EINTR)
      error = written < 0 ? errno : ENOSPC;
  }
  close(fd);
  if (!error && rename(new, path) < 0) error = errno;
  if (error) unlink(new);
  return -error;
}

// Records the identity of the calling process, for a later daemon.
static int write_identity(const char *file, int64_t began) {
  char text[64];
  int size = snprintf(text, sizeof text, "{\"pid\":%d,\"began\":%lld,\"locked\":true}\n", getpid(), (long long)began);
  return (int)-linux_replace_file(file, text, (size_t)size);
}

long linux_spawn(const char *path, char *const *words, const int *fds, int count, int group, const char *identity,
                 int64_t *began) {
  static char *const none[] = {NULL};
  if (count > LINUX_MAX_DESCRIPTORS) return -EINVAL;
  volatile int failure = 0;
  volatile int64_t beginning = 0;
  sigset_t all, before;
  sigfillset(&all);
  // No signal handler of the parent may run in the child, which shares its memory until exec.
  sigprocmask(SIG_SETMASK, &all, &before);
  pid_t pid = vfork();
  if (pid == 0) {
    if (group >= 0 && write(group, "0", 1) < 0) failure = errno;
    int moved[LINUX_MAX_DESCRIPTORS];
    // Those that have the number of a place are first moved to a free one. The call below closes them all at exec.
    for (int fd = 0; fd < count && !failure; fd++) {
      moved[fd] = fds[fd] < count ? fcntl(fds[fd], F_DUPFD, LINUX_MAX_DESCRIPTORS) : fds[fd];
      if (moved[fd] < 0) failure = errno;
    }
    for (int fd = 0; fd < count && !failure; fd++)
      if (dup2(moved[fd], fd) < 0) failure = errno;
    if (!failure) {
      // Close-on-exec instead of close: close(2) of a client's descriptor may block, and the caller waits until exec.
      if (syscall(CLOSE_RANGE, count, ~0u, CLOSE_RANGE_CLOSE_ON_EXEC) < 0) syscall(CLOSE_RANGE, count, ~0u, 0);
      setsid();
      // First, so that the process is recorded even if the caller ends.
      char state;
      int64_t began_at = 0;
      linux_process_stat(0, &state, &began_at);
      beginning = began_at;
      failure = write_identity(identity, beginning);
    }
    if (!failure) {
      // Readers of its report and log may have ended. Only ignored signals survive exec.
      signal(SIGPIPE, SIG_IGN);
      // A console beyond the file size limit is like a full disk: the excess is lost.
      signal(SIGXFSZ, SIG_IGN);
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
  // Reading the second one requires CAP_SYS_ADMIN; systemd before version 251 sets only that.
  ssize_t size = getxattr(path, "user.delegate", value, sizeof value);
  if (size < 0) size = getxattr(path, "trusted.delegate", value, sizeof value);
  return size == 1 && value[0] == '1';
}

long linux_waitpid(int *status) {
  pid_t pid = waitpid(-1, status, WNOHANG);
  return pid < 0 && errno == ECHILD ? 0 : linux_result(pid);
}

int linux_status_code(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : -1; }
int linux_status_signal(int status) { return WIFSIGNALED(status) ? WTERMSIG(status) : 0; }

long linux_kill(int pid, int signal) { return linux_result(kill(pid, signal)); }
long linux_pidfd_open(int pid) { return linux_result(syscall(PIDFD_OPEN, pid, 0)); }
long linux_pidfd_send_signal(int pidfd, int signal) {
  return linux_result(syscall(PIDFD_SEND_SIGNAL, pidfd, signal, NULL, 0));
}

void linux_begin_daemon(void) {
  // Signals that are ignored or blocked, and the umask, come from the program that started this one, and would be
  // inherited by workers.
  struct sigaction action;
  for (int number = 1; number < NSIG; number++)
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN) signal(number, SIG_DFL);
  umask(022);
}

const char *linux_lift_limits(void) {
  static const struct {
    int limit;
    const char *name;
  } known[] = {{RLIMIT_CPU, "cpu"}, {RLIMIT_AS, "as"}, {RLIMIT_DATA, "data"}, {RLIMIT_FSIZE, "fsize"}};
  static char left[32];
  left[0] = 0;
  for (size_t index = 0; index < sizeof known / sizeof *known; index++) {
    struct rlimit limit;
    if (getrlimit((__typeof__(RLIMIT_AS))known[index].limit, &limit) < 0) continue;
    limit.rlim_cur = limit.rlim_max;
    setrlimit((__typeof__(RLIMIT_AS))known[index].limit, &limit);
    if (limit.rlim_max == RLIM_INFINITY) continue;
    if (left[0]) strcat(left, " ");
    strcat(left, known[index].name);
  }
  return left;
}

long linux_signalfd(void) {
  sigset_t wanted;
  sigemptyset(&wanted);
  sigaddset(&wanted, SIGCHLD);
  sigaddset(&wanted, SIGTERM);
  sigaddset(&wanted, SIGINT);
  sigaddset(&wanted, SIGHUP);
  sigprocmask(SIG_SETMASK, &wanted, NULL);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);
  return linux_result(signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
}

long linux_signalfd_read(int fd) {
  struct signalfd_siginfo info;
  return read(fd, &info, sizeof info) == sizeof info ? (long)info.ssi_signo : 0;
}

int linux_raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return INT_MAX;
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) < 0) limit.rlim_cur = before;
  return limit.rlim_cur < INT_MAX ? (int)limit.rlim_cur : INT_MAX;
}

unsigned linux_geteuid(void) { return geteuid(); }
int linux_getpid(void) { return getpid(); }

void linux_set_process_name(const char *name) { prctl(PR_SET_NAME, name, 0, 0, 0); }

bool linux_is_child(int pid) {
  siginfo_t info;
  return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

bool linux_take_left(int fd) { return fcntl(fd, F_SETFD, FD_CLOEXEC) >= 0; }

static void count_one(const char *name, void *context) {
  (void)name;
  ++*(long *)context;
}

long linux_descriptor_count(void) {
  // The count includes the descriptor of the directory itself.
  long count = -1;
  long result = linux_readdir("/proc/self/fd", count_one, &count);
  return result < 0 ? result : count;
}

long linux_flock_directory(const char *path) {
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return -(long)errno;
  long result = linux_flock(fd, 1);
  if (result == 0) return fd;
  close(fd);
  return result;
}

// The path of the process's program, or of the file that has replaced it.
static long program_path(char *path, size_t size) {
  ssize_t length = readlink("/proc/self/exe", path, size - 1);
  if (length < 0) return -(long)errno;
  path[length] = 0;
  char *deleted = strstr(path, " (deleted)");
  if (deleted && deleted[10] == 0) *deleted = 0;
  return 0;
}

// Whether a 64-bit ELF file contains all of its loadable segments.
static bool is_whole(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  struct stat status;
  Elf64_Ehdr header;
  bool whole = fstat(fd, &status) == 0 && pread(fd, &header, sizeof header, 0) == sizeof header &&
               memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_phentsize == sizeof(Elf64_Phdr);
  for (int index = 0; whole && index < header.e_phnum; index++) {
    Elf64_Phdr segment;
    off_t at = (off_t)(header.e_phoff + (Elf64_Off)index * sizeof segment);
    whole = pread(fd, &segment, sizeof segment, at) == sizeof segment &&
            (segment.p_type != PT_LOAD || segment.p_offset + segment.p_filesz <= (Elf64_Off)status.st_size);
  }
  close(fd);
  return whole;
}

long linux_try_program(void) {
  char path[4096];
  long result = program_path(path, sizeof path);
  if (result < 0) return result;
  if (access(path, X_OK) < 0) return -(long)errno;
  if (!is_whole(path)) return -ENOEXEC;
  char *words[] = {"swiftlet", "--version", NULL}, *none[] = {NULL};
  pid_t pid = -1;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t nothing;
  sigemptyset(&nothing);
  posix_spawn_file_actions_init(&actions);
  for (int stream = 0; stream < 3; stream++)
    posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_RDWR, 0);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &nothing);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  int error = posix_spawn(&pid, path, &actions, &attributes, words, none);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error ? -(long)error : pid;
}

long linux_spawn_client(const char *path, char *const *words, int errors, int *own) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) return -(long)errno;
  pid_t pid = -1;
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t nothing;
  sigemptyset(&nothing);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_adddup2(&actions, errors, 2);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &nothing);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  int error = posix_spawn(&pid, path, &actions, &attributes, words, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (!error && fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) error = errno;
  if (error) close(ends[0]);
  *own = ends[0];
  return error ? -(long)error : pid;
}

long linux_reexec(int listener, int lock, const char *socket, const int *left, size_t count) {
  char path[4096];
  long result = program_path(path, sizeof path);
  if (result < 0) return result;
  if (access(path, X_OK) < 0) return -(long)errno;
  // The socket is passed on as by systemd, followed by the lock.
  int sockets = fcntl(listener, F_DUPFD, 5), locks = fcntl(lock, F_DUPFD, 5);
  if (sockets < 0 || locks < 0) {
    int error = errno;
    if (sockets >= 0) close(sockets);
    return -(long)error;
  }
  dup2(sockets, 3);
  dup2(locks, 4);
  if (syscall(CLOSE_RANGE, 5, ~0u, CLOSE_RANGE_CLOSE_ON_EXEC) < 0) {
    fcntl(sockets, F_SETFD, FD_CLOEXEC);
    fcntl(locks, F_SETFD, FD_CLOEXEC);
  }
  for (size_t index = 0; index < count; index++) fcntl(left[index], F_SETFD, 0);
  // Arguments are located by the environment, which moves when a variable is added.
  char **words = linux_arguments();
  char number[16];
  snprintf(number, sizeof number, "%d", getpid());
  // The name marks the socket as the daemon's own, which removes it at its end (DaemonOptions.ownSocketName).
  if (linux_listen_fds() == 0) setenv("LISTEN_FDNAMES", "swiftlet-own", 1);
  setenv("LISTEN_PID", number, 1);
  setenv("LISTEN_FDS", "1", 1);
  setenv("SWIFTLET_LOCK", number, 1);
  setenv("SWIFTLET_LISTENER", socket, 1);
  execv(path, words);
  _exit(123);
}

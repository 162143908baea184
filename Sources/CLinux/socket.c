// Unix sockets, and systemd's socket activation and notifications.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"

#include <sys/socket.h>
#include <sys/un.h>

static bool set_address(struct sockaddr_un *address, const char *path) {
  *address = (struct sockaddr_un){.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address->sun_path) return false;
  strcpy(address->sun_path, path);
  return true;
}

// The same for a path of any length: if it is too long, the socket is named through its directory, which is opened. *directory is
// the descriptor, otherwise -1.
static long set_long_address(struct sockaddr_un *address, const char *path, int *directory) {
  *directory = -1;
  if (set_address(address, path)) return 0;
  const char *name = strrchr(path, '/');
  char above[4096];
  if (!name || strlen(name) > 64 || (size_t)(name - path) >= sizeof above) return -ENAMETOOLONG;
  memcpy(above, path, (size_t)(name - path));
  above[name - path] = 0;
  *directory = open(*above ? above : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (*directory < 0) return -(long)errno;
  snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d%s", *directory, name);
  return 0;
}

long linux_listen_at(const char *path, unsigned mode) {
  struct sockaddr_un address;
  int directory;
  long result = set_long_address(&address, path, &directory);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) {
    result = -(long)errno;
    if (directory >= 0) close(directory);
    return result;
  }
  mode_t before = umask(~mode & 0777);
  int failed = bind(fd, (struct sockaddr *)&address, sizeof address) < 0;
  struct stat status;
  // Only a socket is removed; that it has no listener has been checked.
  if (failed && errno == EADDRINUSE && lstat(path, &status) == 0) {
    errno = EADDRINUSE;
    if (S_ISSOCK(status.st_mode) && unlink(path) == 0)
      failed = bind(fd, (struct sockaddr *)&address, sizeof address) < 0;
  }
  if (!failed) failed = listen(fd, 128) < 0;
  int error = errno;
  umask(before);
  if (directory >= 0) close(directory);
  if (failed) close(fd);
  return failed ? -(long)error : fd;
}

long linux_connect(const char *path, bool wait) {
  struct sockaddr_un address;
  int directory;
  long result = set_long_address(&address, path, &directory);
  if (result < 0) return result;
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | (wait ? 0 : SOCK_NONBLOCK), 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) result = -(long)errno;
  if (directory >= 0) close(directory);
  if (result == 0) return fd;
  if (fd >= 0) close(fd);
  return result;
}

void linux_shutdown_write(int fd) { shutdown(fd, SHUT_WR); }

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
  socklen_t size = 0;
  // It fails with the size that they need, unless there are none.
  if (getsockopt(fd, SOL_SOCKET, PEERGROUPS, NULL, &size) == 0 || errno != ERANGE) return false;
  gid_t *groups = malloc(size);
  bool found = false;
  if (groups && getsockopt(fd, SOL_SOCKET, PEERGROUPS, groups, &size) == 0)
    for (size_t index = 0; index < size / sizeof *groups; index++) found |= groups[index] == group;
  free(groups);
  return found;
}

union control {
  struct cmsghdr header;
  char room[CMSG_SPACE(LINUX_MOST_SENT * sizeof(int))];
};

long linux_accept_client(int fd) {
  long result = linux_accept(fd);
  int on = 1;
  // Otherwise an out-of-band byte would be skipped, and the kernel would close descriptors sent with it.
  if (result >= 0) setsockopt((int)result, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on);
  return result;
}

bool linux_close_socket(int fd) {
  int unread = 0;
  // No further data can arrive after this.
  if (shutdown(fd, SHUT_RDWR) < 0 || ioctl(fd, FIONREAD, &unread) < 0 || unread > 0) return false;
  close(fd);
  return true;
}

long linux_recvmsg(int fd, void *to, size_t size, int *fds, int *count) {
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
    int came[LINUX_MOST_SENT];
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

long linux_sendmsg(int fd, const void *from, size_t size, int descriptor) {
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

long linux_sd_notify(const char *text) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un address;
  if (!path || !set_address(&address, path)) return 0;
  socklen_t size = offsetof(struct sockaddr_un, sun_path) + strlen(path);
  // A name in the abstract namespace begins with a zero byte, written as "@".
  if (path[0] == '@') address.sun_path[0] = 0;
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -(long)errno;
  long result = linux_result(sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, size));
  close(fd);
  return result;
}

long linux_datagram_socket(void) { return linux_result(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)); }

long linux_send_datagram(int fd, const char *path, const void *from, size_t size) {
  struct sockaddr_un address;
  if (!set_address(&address, path)) return -ENAMETOOLONG;
  return linux_result(
      sendto(fd, from, size, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&address, sizeof address));
}

int linux_listen_fds(void) {
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

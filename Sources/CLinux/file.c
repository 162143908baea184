// Files, directories and their changes.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"

#include <dirent.h>
#include <fnmatch.h>
#include <limits.h>
#include <linux/fs.h>
#include <sys/inotify.h>
#include <sys/socket.h>

long linux_ppoll(struct pollfd *wanted, size_t count, int64_t nanoseconds) {
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

long linux_punch_hole(int fd, int64_t end) {
  return linux_result(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, end));
}

long linux_pagemap_scan(int pagemap, uint64_t start, uint64_t end, struct linux_page_region *found, size_t room,
                        uint64_t *scanned) {
  enum { PRESENT = 1 << 3, SWAPPED = 1 << 4 };
  // struct pm_scan_arg
  struct {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
  } scan = {.size = sizeof scan, .start = start, .end = end, .vec = (uintptr_t)found, .vec_len = room,
            .category_anyof_mask = PRESENT | SWAPPED, .return_mask = PRESENT | SWAPPED};
  long result = linux_result(ioctl(pagemap, _IOC(_IOC_READ | _IOC_WRITE, 'f', 16, sizeof scan), &scan));
  *scanned = scan.walk_end;
  return result;
}

long linux_link_to(const char *target, const char *path) { return linux_result(symlink(target, path)); }
long linux_mkdir(const char *path, unsigned mode) { return linux_result(mkdir(path, mode)); }
long linux_mkfifo(const char *path, unsigned mode) { return linux_result(mkfifo(path, mode)); }
long linux_rmdir(const char *path) { return linux_result(rmdir(path)); }

long linux_keep_image(int from, int to, int64_t most) {
  struct stat status;
  if (fstat(from, &status) < 0) return -(long)errno;
  if (!S_ISREG(status.st_mode)) return -EINVAL;
  if (status.st_size > most) return -EDQUOT;
  // Share the blocks if the file system can; otherwise copy in the kernel; otherwise copy here.
  if (ioctl(to, FICLONE, from) < 0) {
    int64_t at = 0, put = 0;
    while (at < status.st_size) {
      long copied = syscall(SYS_copy_file_range, from, &at, to, &put, (size_t)(status.st_size - at), 0);
      if (copied < 0 && errno == EINTR) continue;
      if (copied <= 0) break;
    }
    static char bytes[64 << 10];
    while (at < status.st_size) {
      ssize_t count = pread(from, bytes, sizeof bytes, at);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return -(long)errno;
      if (count == 0) break;  // truncated meanwhile
      if (at + count > most) return -EDQUOT;
      for (ssize_t done = 0; done < count;) {
        ssize_t written = pwrite(to, bytes + done, (size_t)(count - done), at + done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return written < 0 ? -(long)errno : -ENOSPC;
        done += written;
      }
      at += count;
    }
  }
  return linux_result(fchmod(to, 0400));
}

long linux_kept_image(const char *path, int64_t *bytes) {
  struct stat status;
  *bytes = 0;
  if (lstat(path, &status) < 0) return -(long)errno;
  if (!S_ISREG(status.st_mode)) return -EINVAL;
  *bytes = status.st_size;
  // A power failure may have kept the mode and not the data.
  return status.st_mode & 0200 || status.st_size == 0 ? -EBUSY : 0;
}

long linux_chown(const char *path, unsigned user, unsigned group) {
  return linux_result(chown(path, user, group));
}
long linux_size(int fd) {
  struct stat status;
  return fstat(fd, &status) < 0 ? -(long)errno : (long)status.st_size;
}

int64_t linux_mtime(const char *path) {
  struct stat status;
  if (lstat(path, &status) < 0) return 0;
  return (int64_t)status.st_mtim.tv_sec * 1000 + status.st_mtim.tv_nsec / 1000000;
}

long linux_readdir(const char *path, void (*entry)(const char *name, void *context), void *context) {
  DIR *directory = opendir(path);
  if (!directory) return -(long)errno;
  struct dirent *found;
  while (errno = 0, found = readdir(directory))
    if (strcmp(found->d_name, ".") != 0 && strcmp(found->d_name, "..") != 0) entry(found->d_name, context);
  int error = errno;
  closedir(directory);
  return -(long)error;
}

long linux_write_only(int fd) {
  struct stat status;
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fstat(fd, &status) < 0) return -(long)errno;
  // The open file description of a pipe or terminal may be shared, and other processes may expect it to block.
  bool waits = S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode);
  bool reads = (flags & O_ACCMODE) != O_WRONLY;
  if (waits || reads) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    // Append, because other processes may write to the file, too.
    int made = open(path, O_WRONLY | (waits ? O_NONBLOCK : O_APPEND) | O_NOCTTY | O_CLOEXEC);
    if (made >= 0) return made;
    if (reads && !S_ISSOCK(status.st_mode)) return linux_result(open("/dev/null", O_WRONLY | O_CLOEXEC));
  }
  // A socket cannot be opened again; systemd's journal does not send on its socket.
  return linux_result(fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

// The ID of a user or group in a line of fields; (unsigned)-1 means none in system calls.
static bool read_number(const char *text, unsigned *number) {
  char *end;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (end == text || *text == '-' || !strchr(":\n", *end) || errno || value >= UINT32_MAX) return false;
  *number = (unsigned)value;
  return true;
}

// Reads the files directly: getpwnam(3) of a static glibc needs shared libraries.
static long look_up(const char *file, const char *name, unsigned *first, unsigned *second) {
  FILE *lines = fopen(file, "re");
  if (!lines) return -(long)errno;
  char line[1024];
  size_t length = strlen(name);
  long result = -ENOENT;
  while (result != 0 && fgets(line, sizeof line, lines)) {
    if (strncmp(line, name, length) != 0 || line[length] != ':') continue;
    char *number = strchr(line + length + 1, ':');
    if (!number || !read_number(number + 1, first)) continue;
    number = strchr(number + 1, ':');
    if (second && (!number || !read_number(number + 1, second))) continue;
    result = 0;
  }
  fclose(lines);
  return result;
}

long linux_user(const char *name, unsigned *user, unsigned *group) { return look_up("/etc/passwd", name, user, group); }
long linux_group(const char *name, unsigned *group) { return look_up("/etc/group", name, group, NULL); }
const char *linux_getcwd(void) {
  static char path[4096];
  return getcwd(path, sizeof path);
}
const char *linux_real_path(const char *path, int *error) {
  static char found[PATH_MAX];
  const char *result = realpath(path, found);
  *error = result ? 0 : errno;
  return result;
}
const char *linux_getenv(const char *name) { return getenv(name); }

bool linux_is_socket(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

long linux_write_now(int fd, bool is_socket, const void *from, size_t size) {
  struct iovec part = {(void *)from, size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (is_socket) return linux_result(sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
  struct pollfd ready = {.fd = fd, .events = POLLOUT};
  struct timespec now = {0};
  if (ppoll(&ready, 1, &now, NULL) <= 0 || !(ready.revents & POLLOUT)) return -EAGAIN;
  // The number of bytes that a writable pipe accepts without blocking (pipe(7)).
  return linux_result(write(fd, from, size < PIPE_BUF ? size : PIPE_BUF));
}

long linux_lock_path(const char *path) {
  int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return -(long)errno;
  long result = linux_flock(fd, 1);
  if (result == 0) return fd;
  close(fd);
  return result;
}

long linux_file_identity(const char *path, uint64_t *device, uint64_t *inode) {
  struct stat status;
  if (lstat(path, &status) < 0) return -(long)errno;
  *device = status.st_dev;
  *inode = status.st_ino;
  return 0;
}

long linux_descriptor_identity(int fd, uint64_t *device, uint64_t *inode) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -(long)errno;
  *device = status.st_dev;
  *inode = status.st_ino;
  return 0;
}

long linux_inotify_init(void) { return linux_result(inotify_init1(IN_CLOEXEC | IN_NONBLOCK)); }
long linux_inotify_add_watch(int watcher, const char *path) { return linux_result(inotify_add_watch(watcher, path, IN_MODIFY)); }
long linux_inotify_rm_watch(int watcher, int watch) { return linux_result(inotify_rm_watch(watcher, watch)); }

long linux_inotify_read(int watcher, int *watches, int room) {
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

long linux_dup(int fd) { return linux_result(fcntl(fd, F_DUPFD_CLOEXEC, 3)); }
long linux_pwrite(int fd, const void *from, size_t size, int64_t offset) {
  return linux_result(pwrite(fd, from, size, offset));
}
long linux_lseek_data(int fd, int64_t offset) { return linux_result(lseek(fd, offset, SEEK_DATA)); }

long linux_pipe(int *reading, int *writing) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return -(long)errno;
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  *reading = ends[0];
  *writing = ends[1];
  return 0;
}

long linux_memfd_create(const char *name) { return linux_result(syscall(SYS_memfd_create, name, MFD_CLOEXEC)); }

bool linux_matches(const char *pattern, const char *name) { return fnmatch(pattern, name, 0) == 0; }

bool linux_local_time(int64_t seconds, char *text) {
  time_t time = seconds;
  struct tm parts;
  if (!localtime_r(&time, &parts)) return false;
  size_t count = strftime(text, 60, "%Y-%m-%dT%H:%M:%S%z", &parts);
  if (count < 5) return false;
  // RFC 3339 has a colon in the offset.
  memmove(text + count - 1, text + count - 2, 3);
  text[count - 2] = ':';
  return true;
}

bool linux_parse_time(const char *text, bool is_utc, int64_t *seconds) {
  static const char *const formats[] = {"%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M",
                                        "%Y-%m-%d"};
  for (size_t index = 0; index < sizeof formats / sizeof formats[0]; index++) {
    struct tm parts = {.tm_isdst = -1};
    const char *end = strptime(text, formats[index], &parts);
    if (!end || *end) continue;
    *seconds = is_utc ? timegm(&parts) : mktime(&parts);
    return true;
  }
  return false;
}

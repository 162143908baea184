// What virtual devices need of C: loads and stores that a guest's processors see in order, files, terminals and waiting.
#ifndef SWIFTLET_DEVICES_H
#define SWIFTLET_DEVICES_H

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>

// Memory that a guest changes meanwhile: each access happens once, whole, and in the order that the name says. The address
// is a multiple of the size.

static inline uint16_t linux_load16(const void *from) { return __atomic_load_n((const uint16_t *)from, __ATOMIC_ACQUIRE); }
static inline uint64_t linux_load64(const void *from) { return __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED); }
static inline void linux_store16(void *to, uint16_t value) { __atomic_store_n((uint16_t *)to, value, __ATOMIC_RELEASE); }
static inline void linux_store32(void *to, uint32_t value) { __atomic_store_n((uint32_t *)to, value, __ATOMIC_RELAXED); }
// Stores before it are seen before loads behind it.
static inline void linux_full_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// Files.

// Reads or writes all of the bytes; answers how many, fewer at the end of the file alone.
long linux_transfer(int fd, bool write, void *bytes, size_t count, long offset);
static inline long linux_datasync(int fd) { return linux_result(fdatasync(fd)); }
// Size in bytes of a regular file or a block device; -EINVAL for anything else.
static inline long linux_disk_size(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -(long)errno;
  if (S_ISREG(status.st_mode)) return (long)status.st_size;
  return S_ISBLK(status.st_mode) ? linux_result(lseek(fd, 0, SEEK_END)) : -EINVAL;
}
// Locks a file as a whole against other processes, at once or not at all (-EAGAIN); gone when the file is closed.
long linux_lock_file(int fd, int exclusive);

// Terminals.

// Takes all processing of input and output from a terminal and keeps what it had; -ENOTTY where it is none.
static inline long linux_terminal_raw(int fd, struct termios *before) {
  if (tcgetattr(fd, before) < 0) return -(long)errno;
  struct termios raw = *before;
  raw.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
  raw.c_oflag &= ~OPOST;
  raw.c_lflag &= ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
  raw.c_cflag = (raw.c_cflag & ~(CSIZE | PARENB)) | CS8;
  raw.c_cc[VMIN] = 1;
  raw.c_cc[VTIME] = 0;
  return linux_result(tcsetattr(fd, TCSANOW, &raw));
}
static inline long linux_terminal_restore(int fd, const struct termios *before) {
  return linux_result(tcsetattr(fd, TCSANOW, before));
}
// Columns in the low half, rows in the high one; 0 where it is no terminal or does not say.
static inline uint32_t linux_terminal_size(int fd) {
  struct winsize size;
  if (ioctl(fd, TIOCGWINSZ, &size) < 0) return 0;
  return (uint32_t)size.ws_row << 16 | size.ws_col;
}
// Lets an event (linux_event) be signalled whenever the terminal's size changes (SIGWINCH).
long linux_watch_terminal_size(int event);

// Waiting.

static inline long linux_poll(struct pollfd *wanted, unsigned long count) { return linux_result(poll(wanted, count, -1)); }
// Takes an event's signals back; answers how many there were, or -EAGAIN for none.
static inline long linux_event_take(int event) {
  eventfd_t count;
  return eventfd_read(event, &count) < 0 ? -(long)errno : (long)count;
}

// Unix sockets.

// A listening stream socket at that path, where a socket that nobody listens at any more is replaced; nonblocking.
long linux_listen(const char *path);
// The next client of a listening socket, nonblocking; -EAGAIN where there is none.
long linux_accept(int fd);
static inline long linux_send(int fd, const void *from, size_t count) {
  return linux_result(send(fd, from, count, MSG_NOSIGNAL | MSG_DONTWAIT));
}
static inline long linux_unlink(const char *path) { return linux_result(unlink(path)); }

#endif

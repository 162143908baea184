// What virtual devices need from C: ordered loads and stores of guest memory, files, terminals and waiting.
#ifndef SWIFTLET_DEVICES_H
#define SWIFTLET_DEVICES_H

#include <poll.h>
#include <sys/socket.h>
#include <sys/sysinfo.h>
#include <sys/un.h>
#include <termios.h>

// Accesses to memory that the guest changes concurrently: each is atomic, and ordered as the name says. The address is
// a multiple of the size.

static inline uint16_t linux_load16(const void *from) { return __atomic_load_n((const uint16_t *)from, __ATOMIC_ACQUIRE); }
static inline uint64_t linux_load64(const void *from) { return __atomic_load_n((const uint64_t *)from, __ATOMIC_RELAXED); }
static inline void linux_store16(void *to, uint16_t value) { __atomic_store_n((uint16_t *)to, value, __ATOMIC_RELEASE); }
static inline void linux_store32(void *to, uint32_t value) { __atomic_store_n((uint32_t *)to, value, __ATOMIC_RELAXED); }
// Earlier stores are visible before later loads.
static inline void linux_full_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// Files.

// Reads or writes all of the bytes; returns their number, which is less only at the end of the file.
long linux_transfer(int fd, bool write, void *bytes, size_t count, long offset);
static inline long linux_fdatasync(int fd) { return linux_result(fdatasync(fd)); }
// Size in bytes of a regular file or a block device; -EINVAL for anything else.
static inline long linux_disk_size(int fd) {
  struct stat status;
  if (fstat(fd, &status) < 0) return -(long)errno;
  if (S_ISREG(status.st_mode)) return (long)status.st_size;
  return S_ISBLK(status.st_mode) ? linux_result(lseek(fd, 0, SEEK_END)) : -EINVAL;
}
// Locks a file as a whole against other processes, without waiting (-EAGAIN); released when the file is closed.
long linux_flock(int fd, int exclusive);

// The size of the host's memory and swap, in bytes.
static inline uint64_t linux_host_memory(void) {
  struct sysinfo info;
  return sysinfo(&info) < 0 ? UINT64_MAX : ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
}

// Terminals.

// The modes of a terminal; -ENOTTY if it is not one.
static inline long linux_terminal_modes(int fd, struct termios *modes) { return linux_result(tcgetattr(fd, modes)); }
// Sets raw mode on a terminal with these modes.
static inline long linux_terminal_raw(int fd, const struct termios *before) {
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
// Stops the process with SIGTSTP until it is continued; has no effect in an orphaned process group, which is never
// continued.
static inline long linux_suspend(void) {
  return linux_result(syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGTSTP));
}
static inline bool linux_isatty(int fd) { return isatty(fd) == 1; }
// Columns in the low half, rows in the high half; 0 if it is not a terminal, or its size is unknown.
static inline uint32_t linux_terminal_size(int fd) {
  struct winsize size;
  if (ioctl(fd, TIOCGWINSZ, &size) < 0) return 0;
  return (uint32_t)size.ws_row << 16 | size.ws_col;
}
// Makes a write to a pipe without a reader fail with EPIPE instead of ending the process.
static inline void linux_ignore_broken_pipes(void) { signal(SIGPIPE, SIG_IGN); }
// The same for a write beyond the file size limit (RLIMIT_FSIZE), with EFBIG.
static inline void linux_ignore_file_limit(void) { signal(SIGXFSZ, SIG_IGN); }
// Makes a signal also signal an event (linux_eventfd); -1 makes the signal have no effect.
long linux_watch_signal(int signal, int event);

// Waiting.

static inline long linux_poll(struct pollfd *wanted, unsigned long count, int milliseconds) {
  return linux_result(poll(wanted, count, milliseconds));
}
// Clears an event's counter; returns its value, or -EAGAIN for 0.
static inline long linux_eventfd_read(int event) {
  eventfd_t count;
  return eventfd_read(event, &count) < 0 ? -(long)errno : (long)count;
}

// Unix sockets.

// Listens on a stream socket at this path, nonblocking; a socket without a listener is replaced.
long linux_listen(const char *path);
// Accepts the next client, nonblocking; -EAGAIN if there is none.
long linux_accept(int fd);
// Creates a pair of connected stream sockets.
static inline long linux_socketpair(int *first, int *second) {
  int both[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, both) < 0) return -(long)errno;
  *first = both[0];
  *second = both[1];
  return 0;
}
static inline long linux_send(int fd, const void *from, size_t count) {
  return linux_result(send(fd, from, count, MSG_NOSIGNAL | MSG_DONTWAIT));
}
static inline long linux_unlink(const char *path) { return linux_result(unlink(path)); }
// Starts a process, outside the sandbox, that removes the Unix sockets at these paths when this process ends or
// `linux_remove_sockets` is called; sockets with a listener in another process stay. Must be called while the process
// has little memory, which fork(2) copies, and none that the other process must not have. Returns a descriptor.
// `paths`: each is terminated by a zero byte, and the list by another.
long linux_socket_remover(const char *paths);
// Removes the sockets that have no listener, and waits until this is done.
void linux_remove_sockets(int remover);

// KVM's devices: interrupt controllers and notifications (Documentation/virt/kvm/api.rst, devices/arm-vgic*.rst; for riscv64
// arch/riscv/include/uapi/asm/kvm.h).

enum linux_kvm_device_number {
  LINUX_KVM_DEV_TYPE_ARM_VGIC_V2 = 5,
  LINUX_KVM_DEV_TYPE_ARM_VGIC_V3 = 7,
  LINUX_KVM_DEV_TYPE_RISCV_AIA = 11,

  LINUX_KVM_DEV_ARM_VGIC_GRP_ADDR = 0,
  LINUX_KVM_DEV_ARM_VGIC_GRP_NR_IRQS = 3,
  LINUX_KVM_DEV_ARM_VGIC_GRP_CTRL = 4,
  LINUX_KVM_DEV_ARM_VGIC_CTRL_INIT = 0,
  LINUX_KVM_VGIC_V2_ADDR_TYPE_DIST = 0,
  LINUX_KVM_VGIC_V2_ADDR_TYPE_CPU = 1,
  LINUX_KVM_VGIC_V3_ADDR_TYPE_DIST = 2,
  LINUX_KVM_VGIC_V3_ADDR_TYPE_REDIST = 3,
  LINUX_KVM_ARM_IRQ_TYPE_SPI = 1,
  LINUX_KVM_ARM_IRQ_TYPE_SHIFT = 24,

  LINUX_KVM_DEV_RISCV_AIA_GRP_CONFIG = 0,
  LINUX_KVM_DEV_RISCV_AIA_CONFIG_IDS = 1,
  LINUX_KVM_DEV_RISCV_AIA_CONFIG_SRCS = 2,
  LINUX_KVM_DEV_RISCV_AIA_CONFIG_HART_BITS = 5,
  LINUX_KVM_DEV_RISCV_AIA_GRP_ADDR = 1,
  LINUX_KVM_DEV_RISCV_AIA_ADDR_APLIC = 0,
  LINUX_KVM_DEV_RISCV_AIA_GRP_CTRL = 2,
  LINUX_KVM_DEV_RISCV_AIA_CTRL_INIT = 0,

  LINUX_KVM_IOEVENTFD_DATAMATCH = 1,
};

// Values for struct kvm_interrupt (riscv64).
static const uint32_t LINUX_KVM_INTERRUPT_SET = -1U;
static const uint32_t LINUX_KVM_INTERRUPT_UNSET = -2U;

// struct kvm_irq_level, whose first member is in a union that Swift does not name.
struct linux_irq_level {
  uint32_t irq;
  uint32_t level;
};

static const unsigned long LINUX_KVM_IRQ_LINE = KVM_IRQ_LINE;
static const unsigned long LINUX_KVM_GET_DEVICE_ATTR = KVM_GET_DEVICE_ATTR;
static const unsigned long LINUX_KVM_CREATE_DEVICE = KVM_CREATE_DEVICE;
static const unsigned long LINUX_KVM_IOEVENTFD = KVM_IOEVENTFD;
static const unsigned long LINUX_KVM_INTERRUPT = _IOW(KVMIO, 0x86, struct kvm_interrupt);

#endif

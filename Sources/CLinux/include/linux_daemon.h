// What the daemon and its workers need of Linux: processes, sockets, files. Functions return a result or -errno.
#ifndef SWIFTLET_CLINUX_DAEMON_H
#define SWIFTLET_CLINUX_DAEMON_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/file.h>

/// Maximum number of descriptors that a process is started with, or that arrive with one message.
enum { LINUX_MAX_DESCRIPTORS = 16 };

// Processes.

/// Starts a program with an empty environment in a session of its own. Its descriptors 0 ..< count are those in `fds`;
/// it has no others. `group`: open file cgroup.procs of its control group; -1 for that of the caller. `identity`: the
/// file in which the process records its ID and start time before the program begins (ProcessIdentity); if this fails,
/// there is no process. The program ignores SIGPIPE and SIGXFSZ. Returns the process ID, and the start time in
/// `*began`.
long linux_spawn(const char *path, char *const *words, const int *fds, int count, int group, const char *identity,
                 int64_t *began);
/// Whether systemd has delegated a control group, a directory, to its processes (the extended attributes
/// "user.delegate" and "trusted.delegate").
bool linux_is_delegated(const char *path);
/// A child that has ended: its ID, and `*status` from waitpid(2); 0 if there is none.
long linux_waitpid(int *status);
/// The exit status in such a status, or -1; the signal in it, or 0.
int linux_status_code(int status);
int linux_status_signal(int status);
/// Sends a signal to a child that is not reaped (kill(2)).
long linux_kill(int pid, int signal);
/// A pidfd for a process (pidfd_open(2)), which is readable when the process has ended.
long linux_pidfd_open(int pid);
/// Sends a signal to a process (pidfd_send_signal(2)).
long linux_pidfd_send_signal(int pidfd, int signal);

/// The state of a process, as a letter, and its start time in clock ticks since boot: fields 3 and 22 of /proc/PID/stat
/// (proc_pid_stat(5)). `pid`: 0 for the calling process. -ENOENT or -ESRCH if there is no such process.
long linux_process_stat(int pid, char *state, int64_t *began);
/// What a process has used. CPU time is in milliseconds, in steps of a clock tick (10 ms).
struct linux_usage {
  int64_t began;     // its start time, as of `linux_process_stat`
  int64_t cpu;       // CPU time of all its threads
  int64_t guest;     // of that, in a guest
  int64_t resident;  // memory, in bytes
};
/// The usage of a process: fields 14, 15, 22, 24 and 43 of /proc/PID/stat.
long linux_process_usage(int pid, struct linux_usage *usage);
/// Sets the name of the calling process in ps(1) and /proc/PID/comm, of which the kernel keeps 15 bytes (PR_SET_NAME).
void linux_set_process_name(const char *name);
/// Whether a process is a child of this one that is not reaped.
bool linux_is_child(int pid);
/// The IDs of this process, and of its user.
int linux_getpid(void);
unsigned linux_geteuid(void);
/// Raises the limit of descriptors to the hard limit, and returns it.
int linux_raise_descriptor_limit(void);
/// Whether a descriptor is open; makes it close-on-exec.
bool linux_take_left(int fd);
/// The number of open descriptors.
long linux_descriptor_count(void);
/// Starts the program that is at the path of the process's own, with the arguments "swiftlet --version". Returns its
/// process ID, or -ENOEXEC if the file is incomplete.
long linux_try_program(void);
/// Starts a program as a client of this process: its standard input is one end of a connection, whose other end, which does not
/// block, is returned in `socket`. Its standard output is /dev/null. Returns its process ID.
long linux_spawn_client(const char *path, char *const *words, int errors, int *socket);
/// Executes the process's own program again with the same arguments. One socket is passed on as systemd does, and the
/// lock of `linux_flock_directory` stays held. `socket` identifies the socket's file (SWIFTLET_LISTENER); `left` are
/// descriptors that stay open, which the new program must close. Returns -errno if it fails, in which case nothing has
/// changed.
long linux_reexec(int listener, int lock, const char *socket, const int *left, size_t count);
/// Locks a directory until the returned descriptor is closed, or the process has ended; -EWOULDBLOCK if it is locked.
long linux_flock_directory(const char *path);
/// Releases such a lock, even if other processes have the descriptor.
static inline void linux_unlock(int fd) { flock(fd, LOCK_UN); }
/// Locks a file, which is created if necessary, in the same way.
long linux_lock_path(const char *path);
/// The identity of a file, or of a symbolic link itself: 0, or -errno.
long linux_file_identity(const char *path, uint64_t *device, uint64_t *inode);
/// The same for an open file.
long linux_descriptor_identity(int fd, uint64_t *device, uint64_t *inode);
/// The descriptor of the lock that `linux_reexec` has passed on; -1 for none.
int linux_handed_lock(void);

// Signals and other inherited state.

/// Resets all signal dispositions, and sets the umask.
void linux_begin_daemon(void);
/// Raises the soft limits of CPU time, memory and file size to the hard limits. Returns the names of those that are
/// still limited.
const char *linux_lift_limits(void);
/// Blocks exactly SIGCHLD, SIGTERM, SIGINT and SIGHUP, ignores SIGPIPE and SIGXFSZ, and returns a signalfd for the
/// four.
long linux_signalfd(void);
/// The next signal; 0 if none is pending.
long linux_signalfd_read(int fd);

// Sockets: stream sockets in the file system, close-on-exec.

/// Listens at a path. A socket without a listener is replaced, but no other file. The socket is created with this mode.
long linux_listen_at(const char *path, unsigned mode);
/// Connects. `wait`: whether to wait if the listener's queue is full, and for later reads and writes.
long linux_connect(const char *path, bool wait);
/// Shuts down the sending side.
void linux_shutdown_write(int fd);
/// Prepares a listening socket that another program has created: 0, or -ENOTSOCK if it is not one.
long linux_take_listener(int fd);
/// The process and user of the peer (SO_PEERCRED).
long linux_peer(int fd, int *pid, unsigned *user, unsigned *group);
/// Whether the peer had this supplementary group when it connected (SO_PEERGROUPS).
bool linux_peer_in_group(int fd, unsigned group);
/// Accepts a client, like `linux_accept`; out-of-band bytes are received inline.
long linux_accept_client(int fd);
/// Closes a connection, and the socket if that cannot block. Returns false if unread data may contain descriptors; the
/// caller must then close the socket.
bool linux_close_socket(int fd);
/// Maximum number of descriptors with one byte (the kernel's SCM_MAX_FD).
enum { LINUX_MOST_SENT = 253 };
/// Receives bytes, and the descriptors that arrive with them. `*count` is the capacity of the array, and is set to
/// their number. With space for LINUX_MOST_SENT, and as many free descriptors in the process, none is closed here.
long linux_recvmsg(int fd, void *to, size_t size, int *fds, int *count);
/// Sends bytes, and a descriptor unless it is -1; fails with EPIPE without a signal.
long linux_sendmsg(int fd, const void *from, size_t size, int descriptor);
/// Sends a notification to systemd (sd_notify(3)): 0 if there is no receiver.
long linux_sd_notify(const char *text);
/// A datagram socket to send to others; -errno.
long linux_datagram_socket(void);
/// Sends one message to the socket at a path, without blocking; -EAGAIN if its queue is full.
long linux_send_datagram(int fd, const char *path, const void *from, size_t size);
/// The number of listening sockets that systemd has passed on, from descriptor 3 on (sd_listen_fds(3)).
int linux_listen_fds(void);

// Files.

bool linux_is_socket(int fd);
/// Writes as much as possible without blocking: -EAGAIN for nothing.
long linux_write_now(int fd, bool is_socket, const void *from, size_t size);
/// Waits for events, at most this number of nanoseconds (< 0: no limit). Returns the number of ready descriptors, 0
/// after a signal.
long linux_ppoll(struct pollfd *wanted, size_t count, int64_t nanoseconds);
/// Sends the kick signal to the calling thread whenever the descriptor becomes ready (O_ASYNC, F_SETSIG).
long linux_kick_when_ready(int fd);
/// Makes a hole from the file's beginning to an offset (FALLOC_FL_PUNCH_HOLE).
long linux_punch_hole(int fd, int64_t end);
/// Creates a symbolic link.
long linux_link_to(const char *target, const char *path);
long linux_mkdir(const char *path, unsigned mode);
long linux_mkfifo(const char *path, unsigned mode);
/// Replaces a file atomically by one with these bytes (rename(2) of PATH.new).
long linux_replace_file(const char *path, const void *bytes, size_t count);
long linux_rmdir(const char *path);
/// Copies a regular file of at most `most` bytes to an empty one, sharing blocks if the file system supports it, and
/// makes the complete copy read-only. -EINVAL if it is not a regular file, -EDQUOT if it is larger.
long linux_keep_image(int from, int to, int64_t most);
/// The size of such a copy: 0, or -EBUSY if it is incomplete, -ENOENT if it does not exist.
long linux_kept_image(const char *path, int64_t *bytes);
long linux_chown(const char *path, unsigned user, unsigned group);
/// Creates a pipe, close-on-exec; its read end is nonblocking.
long linux_pipe(int *reading, int *writing);
/// Writes at an offset; fdatasync(2).
long linux_pwrite(int fd, const void *from, size_t size, int64_t offset);
/// A descriptor to write to the file of another. It cannot be used to read, unless it is a socket, and does not block
/// on the reader of a pipe or a terminal.
long linux_write_only(int fd);
/// Duplicates a descriptor, close-on-exec.
long linux_dup(int fd);
/// The offset of the first byte from an offset on that is not in a hole; -ENXIO if there is none (SEEK_DATA).
long linux_lseek_data(int fd, int64_t offset);
/// When a file was last modified, in milliseconds since 1970; 0 if it does not exist.
int64_t linux_mtime(const char *path);
/// The size of a file of any type.
long linux_size(int fd);
/// Calls `entry` with each name in a directory, except "." and "..".
long linux_readdir(const char *path, void (*entry)(const char *name, void *context), void *context);
/// The IDs of a user and its group, or of a group: 0, or -ENOENT.
long linux_user(const char *name, unsigned *user, unsigned *group);
long linux_group(const char *name, unsigned *group);
/// Creates a file in memory, without a name in a file system (memfd_create(2)).
long linux_memfd_create(const char *name);
/// Whether a name matches a pattern of the shell: "*", "?" and "[...]" (fnmatch(3)).
bool linux_matches(const char *pattern, const char *name);
/// A time in seconds since 1970 as local text of 25 bytes, "2026-01-31T23:59:59+01:00", in a buffer of 64; false if it has
/// none.
bool linux_local_time(int64_t seconds, char *text);
/// The opposite: parses a date, "2026-01-31", with "T" or a space and a time of day, "23:59" or "23:59:59", or without.
bool linux_parse_time(const char *text, bool is_utc, int64_t *seconds);
/// The path of the working directory, valid until the next call; NULL if it has none.
const char *linux_getcwd(void);
/// The absolute path of a file without symbolic links, valid until the next call; NULL with errno in `error` if there is none.
const char *linux_real_path(const char *path, int *error);
/// An environment variable; NULL if it is not set.
const char *linux_getenv(const char *name);

// Changes of files (inotify(7)).

long linux_inotify_init(void);
/// Watches a file for writes; returns the watch descriptor.
long linux_inotify_add_watch(int watcher, const char *path);
long linux_inotify_rm_watch(int watcher, int watch);
/// Reads the watch descriptors of changed files; returns their number.
long linux_inotify_read(int watcher, int *watches, int room);

#endif

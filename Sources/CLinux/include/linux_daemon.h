// What the daemon and its workers need of Linux: processes, sockets, files. Every function answers a result or -errno.
#ifndef SWIFTLET_CLINUX_DAEMON_H
#define SWIFTLET_CLINUX_DAEMON_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Processes.

/// Starts a program with an empty environment in a session of its own: descriptors 0 ..< count of it are those in `fds`, and
/// no others. `group`: the opened cgroup.procs of the control group that it is in from its first instruction; -1 for the caller's
/// own. `identity`: the file in which the process leaves its id and beginning before the program begins (ProcessIdentity);
/// where that cannot be written, there is no process. It ignores SIGPIPE. Answers its id, and `*began` its beginning.
long linux_spawn(const char *path, char *const *words, const int *fds, int count, int group, const char *identity,
                 int64_t *began);
/// Whether systemd has delegated a control group, a folder, to those who run in it (its extended attributes "user.delegate"
/// and "trusted.delegate").
bool linux_is_delegated(const char *path);
/// A child that has ended: its id, and `*status` as waitpid(2) has it; 0 where none has.
long linux_reap(int *status);
/// The exit status in such a status, or -1; the signal in it, or 0.
int linux_status_code(int status);
int linux_status_signal(int status);
/// Sends a child that is not reaped a signal (kill(2)).
long linux_kill(int pid, int signal);
/// A descriptor for a process (pidfd_open(2)), which can be read once it has ended.
long linux_pidfd(int pid);
/// Sends a process a signal (pidfd_send_signal(2)).
long linux_pidfd_kill(int pidfd, int signal);

/// Whether a process is a child of this one that is not reaped yet.
bool linux_is_child(int pid);
/// This process, and its user.
int linux_process_id(void);
unsigned linux_user_id(void);
/// Lets the process open as many descriptors as it may, and answers how many that are.
int linux_raise_descriptor_limit(void);
/// How many descriptors are open.
long linux_descriptor_count(void);
/// Starts the process's own program anew in its place, with the same words, one socket handed over as systemd does, and a lock
/// of `linux_lock_folder` that is held throughout. It comes back with -errno only where nothing has changed.
long linux_execute_again(int listener, int lock);
/// Locks a folder until the descriptor that it answers is closed, or the process has ended; -EWOULDBLOCK where another has
/// locked it.
long linux_lock_folder(const char *path);
/// The lock's descriptor that `linux_execute_again` has handed over; -1 where it has not.
int linux_handed_lock(void);

// Signals.

/// Blocks SIGCHLD, SIGTERM, SIGINT and SIGHUP, ignores SIGPIPE, and answers a descriptor that the four are read from.
long linux_signals(void);
/// The next signal there; 0 where none waits.
long linux_next_signal(int fd);

// Sockets. All are of the stream kind, in the file system, and close on exec.

/// Listens at a path, where an old socket is removed, and nothing but a socket; the socket has that mode from its first moment on.
long linux_listen_at(const char *path, unsigned mode);
/// Connects; `wait` says whether to wait where the listener's queue is full, and for reading and writing later on.
long linux_connect(const char *path, bool wait);
/// Says that no more will be sent.
void linux_end_sending(int fd);
/// Takes a listening socket that another program has made: 0, or -ENOTSOCK for what is none.
long linux_take_listener(int fd);
/// Who is at the other end (SO_PEERCRED).
long linux_peer(int fd, int *pid, unsigned *user, unsigned *group);
/// Whether the other end had that further group when it connected (SO_PEERGROUPS).
bool linux_peer_in_group(int fd, unsigned group);
/// Receives bytes, and descriptors that come with them: `*count` says how many there is room for, and how many came.
long linux_receive(int fd, void *to, size_t size, int *fds, int *count);
/// Sends bytes, with a descriptor unless it is -1; EPIPE raises no signal.
long linux_send_with(int fd, const void *from, size_t size, int descriptor);
/// Tells systemd (sd_notify(3)): 0 where nobody wants to know.
long linux_notify(const char *text);
/// How many listening sockets systemd has handed over, from descriptor 3 on (sd_listen_fds(3)).
int linux_handed_over(void);

// Files.

/// Waits for any of these, so many nanoseconds at most (< 0: for ever); answers how many are ready, 0 after a signal.
long linux_poll_for(struct pollfd *wanted, size_t count, int64_t nanoseconds);
/// Lets the kick signal come to the calling thread whenever the descriptor becomes ready (O_ASYNC, F_SETSIG).
long linux_kick_when_ready(int fd);
/// A hole from the file's beginning to there (FALLOC_FL_PUNCH_HOLE).
long linux_punch(int fd, int64_t end);
long linux_make_folder(const char *path, unsigned mode);
long linux_make_fifo(const char *path, unsigned mode);
long linux_rename(const char *from, const char *to);
long linux_remove_folder(const char *path);
long linux_change_mode(const char *path, unsigned mode);
long linux_change_owner(const char *path, unsigned user, unsigned group);
/// A pipe, which closes on exec; its reading end does not block.
long linux_make_pipe(int *reading, int *writing);
/// Writes at an offset; pushes what was written to the disk.
long linux_pwrite(int fd, const void *from, size_t size, int64_t offset);
long linux_sync(int fd);
/// The same open file under another number, which closes on exec.
long linux_duplicate(int fd);
/// Where the first byte from there on is that is in no hole; -ENXIO where none is.
long linux_seek_data(int fd, int64_t offset);
/// When a file was last written, in milliseconds since 1970; 0 where there is none.
int64_t linux_modified(const char *path);
/// Size of any file that has one.
long linux_size(int fd);
/// Calls `entry` with the name of everything in a folder, but not "." and "..".
long linux_list(const char *path, void (*entry)(const char *name, void *context), void *context);
/// A user's number and group, a group's number: 0, or -ENOENT.
long linux_user(const char *name, unsigned *user, unsigned *group);
long linux_group(const char *name, unsigned *group);
/// The working folder's path, good until the next call; NULL where it has none.
const char *linux_working_folder(void);
/// An environment variable; NULL where there is none.
const char *linux_environment(const char *name);

// Changes of files (inotify(7)).

long linux_watcher(void);
/// Watches a file for being written to; answers the watch's number.
long linux_watch(int watcher, const char *path);
long linux_unwatch(int watcher, int watch);
/// Reads numbers of watches whose files have changed; answers how many.
long linux_changes(int watcher, int *watches, int room);

#endif

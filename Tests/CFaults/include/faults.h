// Calls of the host's kernel other than KVM's that a test can make fail: the program has its own versions of these
// functions of the C library, which call the kernel.
#ifndef SWIFTLET_FAULTS_H
#define SWIFTLET_FAULTS_H

#include <stdbool.h>
#include <stddef.h>

enum host_call {
  HOST_OPEN, HOST_READ, HOST_WRITE, HOST_POLL, HOST_EVENTFD, HOST_SIGACTION, HOST_THREAD, HOST_GETRANDOM, HOST_MADVISE,
  HOST_TIMER_CREATE, HOST_TIMER_SET, HOST_STAT, HOST_PREAD, HOST_SOCKET, HOST_BIND, HOST_LISTEN, HOST_LOCK, HOST_MKDIR, HOST_RENAME, HOST_PIPE,
  HOST_SIGNALFD, HOST_INOTIFY, HOST_ACCEPT, HOST_RECEIVE, HOST_SEND, HOST_EXEC, HOST_CONTROL, HOST_DUPLICATE, HOST_PIDFD,
  HOST_CONNECT, HOST_FIFO, HOST_PWRITE, HOST_SYNC, HOST_FALLOCATE, HOST_SENDTO, HOST_SEEK, HOST_SOCKETPAIR, HOST_FORK,
  HOST_CLOSE_RANGE, HOST_CAPABILITIES, HOST_PROCESS_CONTROL, HOST_LANDLOCK_CREATE, HOST_LANDLOCK_RESTRICT, HOST_SET_GROUPS,
  HOST_SET_GROUP, HOST_SET_USER, HOST_VFORK, HOST_CALLS
};

/// Number of entries of a directory; -1 if it cannot be read.
int count_entries(const char *directory);
/// Whether there is a child process, ended or not.
bool has_children(void);
/// Makes standard output line-buffered.
void setvbuf_lines(void);

/// Records every call from now on; call `number` (from 0) of that kind fails with `error`, or none if `error` is 0.
void faults_begin(enum host_call call, long number, int error);
/// Ends this. Returns the number of calls.
long faults_end(void);
/// The kind of a call since `faults_begin`; HOST_CALLS if there is no such call.
enum host_call faults_call(long number);
const char *faults_name(enum host_call call);

/// Runs a body in a process of its own, which exits with its result. Returns that; 128 plus a signal's number, or -1. A
/// seccomp filter is not installed there, since it is for another architecture.
int in_child(int (*body)(void));
/// Whether the call that is to fail has been made.
bool has_failed(void);

// A client of a daemon on the same thread, whose calls are not counted and never fail. It does not wait.
long client_connect(const char *path);
long client_send(int fd, const void *from, size_t count);
/// -1 if there is no data, 0 at the end.
long client_receive(int fd, void *to, size_t count);
void client_close(int fd);

#endif

// Calls of the host's kernel beside KVM that a test can make fail: the program that this is linked to has its own versions of
// the C library's functions, which hand on to the kernel.
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

/// Entries of a folder; -1 where it cannot be read.
int count_entries(const char *folder);
/// Whether there is a child process, ended or not.
bool has_children(void);
/// Lets standard output go line by line, wherever it goes.
void setvbuf_lines(void);

/// From now on every call is noted; call `number` (from 0) of that kind fails with `error`, none where `error` is 0.
void faults_begin(enum host_call call, long number, int error);
/// Ends it. Answers how many calls there were.
long faults_end(void);
/// The kind of a call since `faults_begin`; HOST_CALLS where there is no such call.
enum host_call faults_call(long number);
const char *faults_name(enum host_call call);

/// Runs a body in a process of its own, which ends with what the body answers. Answers that; 128 and a signal's number, or -1.
/// A seccomp filter is not installed there: it is another architecture's.
int in_child(int (*body)(void));
/// Whether the call that is to fail has come.
bool has_failed(void);

// A client of a daemon on the same thread, whose calls are its own affair and never fail for a plan. It does not wait.
long client_connect(const char *path);
long client_send(int fd, const void *from, size_t count);
/// -1 where nothing is there, 0 at the end.
long client_receive(int fd, void *to, size_t count);
void client_close(int fd);

#endif

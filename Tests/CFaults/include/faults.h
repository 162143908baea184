// Calls of the host's kernel beside KVM that a test can make fail: the program that this is linked to has its own versions of
// the C library's functions, which hand on to the kernel.
#ifndef SWIFTLET_FAULTS_H
#define SWIFTLET_FAULTS_H

enum host_call {
  HOST_OPEN, HOST_READ, HOST_WRITE, HOST_POLL, HOST_EVENTFD, HOST_SIGACTION, HOST_THREAD, HOST_GETRANDOM, HOST_MADVISE,
  HOST_TIMER_CREATE, HOST_TIMER_SET, HOST_CALLS
};

/// Entries of a folder; -1 where it cannot be read.
int count_entries(const char *folder);
/// Lets standard output go line by line, wherever it goes.
void setvbuf_lines(void);

/// From now on every call is noted; call `number` (from 0) fails with `error`, none where `error` is 0.
void faults_begin(long number, int error);
/// Ends it. Answers how many calls there were.
long faults_end(void);
/// The kind of a call since `faults_begin`; HOST_CALLS where there is no such call.
enum host_call faults_call(long number);
const char *faults_name(enum host_call call);

#endif

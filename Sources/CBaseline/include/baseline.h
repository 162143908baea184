// The baseline of each benchmark: the same work in C, with the same KVM requests and nothing else. No monitor can be
// faster; figures are divided by it. In addition, functions that benchmarks need and Swift cannot express: processes
// that are created and timed, and programs that run as guests.
//
// Functions return 0 or -errno. Times are CLOCK_MONOTONIC, in nanoseconds. A function with `marks` fills in `count` + 1
// of them: the time before the first iteration, and after each. On hosts that are neither ARM64 nor RISC-V all of them
// return -ENOSYS.
#ifndef SWIFTLET_BASELINE_H
#define SWIFTLET_BASELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// How the baseline's guest leaves: with a hypercall (on arm64 before Linux 6.4, which forwards none, a store), or with
/// a store to an address without memory.
enum baseline_exit { BASELINE_EXIT_CALL, BASELINE_EXIT_STORE };

/// What an iteration does in addition to an exit and an entry.
enum baseline_work {
  BASELINE_NOTHING,
  BASELINE_COPY,   ///< copies `bytes` from guest memory and back
  BASELINE_RANDOM, ///< fills `bytes` of guest memory with random data of the kernel
  BASELINE_WRITE,  ///< writes `bytes` of guest memory to `file`
  BASELINE_ECHO,   ///< copies `bytes` from guest memory, takes another exit, copies them back
};

long baseline_calls(enum baseline_exit exit, enum baseline_work work, size_t bytes, int file, int64_t *marks, long count);
/// An iteration copies a request of `bytes` (256 at most) from guest memory, sends it to a socket, receives the answer,
/// takes another exit, and copies the answer to guest memory.
long baseline_forward(int socket, const void *request, size_t bytes, int64_t *marks, long count);
/// An iteration takes an exit of each of several VMs, one after the other.
long baseline_copies(int copies, int64_t *marks, long count);

/// Creates a VM, runs it to its first call and closes it. Marks: the start, /dev/kvm open, VM created, first call, all
/// closed.
enum { BASELINE_STAGES = 4 };
long baseline_open(int64_t marks[BASELINE_STAGES + 1]);

/// The time to stop a guest that loops on another thread: `count` times, each after it has run for `rest` nanoseconds.
long baseline_stop(int64_t *times, long count, int64_t rest);

/// The time that several threads, each with a VM of its own, take for `calls` calls each.
long baseline_parallel(int threads, long calls, int64_t *time);

/// Creates VMs, each of which makes one call; they exist until `baseline_release`.
long baseline_hold(int count);
void baseline_release(void);

// Processes.

/// Forks, executes a program (that of an open descriptor if `path` is NULL) with `output` as its standard output and
/// error, and waits for it. Returns the time in `*time`, and the status of wait(2) in `*status`.
long baseline_process(const char *path, int program, char *const *arguments, int output, int64_t *time, int *status);
/// The same, traced. `*bytes` is its resident memory just before its end. The value of wait4(2) is not suitable, since
/// it is at least that of this process at the fork, and the kernel's counters have a granularity of 32 pages.
long baseline_process_memory(const char *path, int program, char *const *arguments, int output, int64_t *bytes,
                          int *status);
/// Starts a program with its output to `output`. It gets SIGTERM if this process ends first. Returns its process ID.
long baseline_start(const char *path, char *const *arguments, int output);
/// Sends a signal to a process that was started here, and waits for its end.
long baseline_end(long process, int signal);
/// The time to kill and wait for a process with a VM that has made one call: `count` times.
long baseline_kill(int64_t *times, long count);
/// Starts a process that listens at a path and answers each JSON-RPC request, one in a line, with its parameter; it
/// serves one client at a time. Returns its process ID; `baseline_end` ends it.
long baseline_echo_peer(const char *path);
/// Creates an executable file in memory with these bytes; returns a descriptor.
long baseline_memory_file(const void *bytes, size_t count);
/// The path of this process's executable file.
long baseline_own_path(char *path, size_t size);
/// Creates a file with these bytes; its path is made from a template of mkstemp(3).
long baseline_temporary_file(char *template, const void *bytes, size_t count);
long baseline_remove_file(const char *path);
/// Truncates a file that is open for writing.
long baseline_empty_file(int file);
/// Creates a directory, in the same way.
long baseline_temporary_directory(char *template);
/// The resident memory of this process, in bytes.
long baseline_resident(int64_t *bytes);
bool baseline_is_terminal(int file);

// Position-independent programs in machine code, as parts of this executable.

/// A range of machine code.
struct baseline_code {
  const void *start;
  size_t count;
};

/// A static program without a C library that creates a VM, runs it to its first call, and ends. Its entry point is its
/// first byte.
struct baseline_code baseline_start_program(void);

/// The programs of secure contexts; arguments are in the first registers.
enum baseline_guest {
  BASELINE_GUEST_HELLO,  ///< writes a line and exits
  BASELINE_GUEST_TIMES,  ///< (count, times, mask): gets the time `count` times, stores result i at i & mask, and exits
  BASELINE_GUEST_REPEAT, ///< (number, a1, a2): repeats this call
  BASELINE_GUEST_RPC,    ///< (request, size, response, capacity): repeats this RPC
  BASELINE_GUEST_SPIN,   ///< loops
  BASELINE_GUEST_SLEEP,  ///< sleeps repeatedly
  BASELINE_GUEST_SYSTEM, ///< in system mode: makes calls, stores the time after each, exits; see `struct baseline_system`
  BASELINE_GUEST_CALLS,  ///< gets the time as often as the first word before the guests' code says, and exits
  BASELINE_GUEST_WORK,   ///< (count, times, work, steps, memory): as `baseline_work_on_host`; exits
};
/// The call of a program in system mode.
enum baseline_system_call {
  BASELINE_SYSTEM_TIME,      ///< the time: no arguments, one result
  BASELINE_SYSTEM_ARGUMENTS, ///< a region that does not exist: two arguments, one result; the times are in ticks of the counter
  BASELINE_SYSTEM_BLOCK,     ///< arm64: the time, by block
};
/// The words before the guests' code, with the arguments of BASELINE_GUEST_SYSTEM.
struct baseline_system {
  uint64_t kind;  ///< enum baseline_system_call
  uint64_t count; ///< calls
  uint64_t times; ///< address of as many words, a multiple of 32; a struct applet_block precedes it
  uint64_t none;
};
/// The code of all guests.
struct baseline_code baseline_guests(void);
/// Offset of a guest's first instruction in the code.
size_t baseline_guest_entry(enum baseline_guest guest);

/// A computation. Guests execute the same instructions.
enum baseline_processor_work { BASELINE_WORK_INTEGER, BASELINE_WORK_MEMORY, BASELINE_WORK_FLOATING };
/// Size of its memory, in bytes, which is initially zero.
enum { BASELINE_WORK_MEMORY_SIZE = 1 << 20 };
/// Performs it `count` times: `times` gets the time of each, followed by a checksum.
void baseline_work_on_host(long count, int64_t *times, enum baseline_processor_work work, long steps, uint64_t *memory);

#endif

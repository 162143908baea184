// The floor under each benchmark: the same work in C, over the same requests of KVM, and nothing else. No monitor can be
// faster; what a monitor adds is counted from here. Beside it, what benchmarks need and Swift cannot do: processes made and
// timed, and programs that run as guests.
//
// Every function answers 0 or -errno. Times are CLOCK_MONOTONIC, in nanoseconds. A function that takes `marks` fills one
// more than `count` of them: the time before the first turn, and the time after each. On hosts without support for guests
// all of them answer -ENOSYS.
#ifndef SWIFTLET_FLOOR_H
#define SWIFTLET_FLOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// How the floor's guest leaves: a hypercall (on arm64 before Linux 6.4, which passes none on, a store), or a store where no
/// memory is.
enum floor_exit { FLOOR_EXIT_CALL, FLOOR_EXIT_STORE };

/// What a turn does beside one exit and re-entry.
enum floor_work {
  FLOOR_NOTHING,
  FLOOR_COPY,   ///< copies `bytes` out of the guest's memory and back in
  FLOOR_RANDOM, ///< has the kernel fill `bytes` of the guest's memory
  FLOOR_WRITE,  ///< writes `bytes` of the guest's memory to `file`
  FLOOR_ECHO,   ///< copies `bytes` out, takes another exit, copies them in
};

long floor_calls(enum floor_exit exit, enum floor_work work, size_t bytes, int file, int64_t *marks, long count);
/// A request of `bytes` (256 at most) copied out of the guest's memory, sent to a socket, the answer received, another exit
/// taken, and the answer copied in.
long floor_forward(int socket, const void *request, size_t bytes, int64_t *marks, long count);
/// Exits of as many machines as copies, one after the other, each turn.
long floor_copies(int copies, int64_t *marks, long count);

/// One machine from nothing to its first call and away again. The marks: begin, /dev/kvm open, machine made, first call
/// taken, all closed.
enum { FLOOR_STAGES = 4 };
long floor_open(int64_t marks[FLOOR_STAGES + 1]);

/// How long it takes to stop a guest that spins on another thread: `count` times, each after it has run for `rest`
/// nanoseconds.
long floor_stop(int64_t *times, long count, int64_t rest);

/// The time that as many threads take, each with a machine of its own, for `calls` calls each.
long floor_parallel(int threads, long calls, int64_t *time);

/// Makes machines, each with one call behind it, that stay until `floor_release`.
long floor_hold(int count);
void floor_release(void);

// Processes.

/// Forks, executes a program (an open descriptor of it where `path` is NULL) with `output` as its standard output and
/// errors, and waits. `*time` is what it took, `*status` as wait(2) has it.
long floor_process(const char *path, int program, char *const *arguments, int output, int64_t *time, int *status);
/// The same, traced: `*bytes` is what it has resident when it is about to end. What wait4(2) tells would not do, for it is
/// never less than this process had at the fork; and the kernel's counters go in steps of 32 pages.
long floor_process_memory(const char *path, int program, char *const *arguments, int output, int64_t *bytes,
                          int *status);
/// Starts a program whose output goes to `output`, and which gets SIGTERM should this process end before it. Answers its
/// process id.
long floor_start(const char *path, char *const *arguments, int output);
/// Sends a process that was started here a signal, and waits for its end.
long floor_end(long process, int signal);
/// How long it takes to kill a process that has a machine with one call behind it, and to wait for it: `count` times.
long floor_kill(int64_t *times, long count);
/// Starts a process that listens at a path, and answers JSON-RPC's requests with their one parameter, a line each, of one
/// client after the other. Answers its process id; `floor_end` ends it.
long floor_echo_peer(const char *path);
/// A descriptor of a new file in memory with these bytes, which may be executed.
long floor_memory_file(const void *bytes, size_t count);
/// The path of this process's executable file.
long floor_own_path(char *path, size_t size);
/// A new file with these bytes, whose path is made of a template as mkstemp(3) has it.
long floor_temporary_file(char *template, const void *bytes, size_t count);
long floor_remove_file(const char *path);
/// Takes all bytes out of a file that is open for writing.
long floor_empty_file(int file);
/// A new folder, in the same way.
long floor_temporary_folder(char *template);
/// Bytes of this process that are resident.
long floor_resident(int64_t *bytes);
bool floor_is_terminal(int file);

// Programs in machine code that runs anywhere in memory, as parts of this executable.

/// A piece of machine code.
struct floor_code {
  const void *start;
  size_t count;
};

/// A static program without a C library that makes one machine, takes one call, and ends. Its entry is its first byte.
struct floor_code floor_start_program(void);

/// What a secure context can begin with; arguments are in its first registers.
enum floor_guest {
  FLOOR_GUEST_HELLO,  ///< writes a line and exits
  FLOOR_GUEST_TIMES,  ///< (count, times, mask): asks for the time so often, keeps answer i at i & mask, and exits
  FLOOR_GUEST_REPEAT, ///< (number, a1, a2): makes this call for ever
  FLOOR_GUEST_RPC,    ///< (request, size, response, capacity): one RPC after the other, for ever
  FLOOR_GUEST_SPIN,   ///< runs for ever
  FLOOR_GUEST_SLEEP,  ///< sleeps for ever
  FLOOR_GUEST_SYSTEM, ///< in system mode: makes calls, notes the time after each, exits; see `struct floor_system`
  FLOOR_GUEST_CALLS,  ///< asks for the time as often as the first word ahead of the guests' code says, and exits
  FLOOR_GUEST_WORK,   ///< (count, times, work, steps, memory): as `floor_work_on_host`; exits
};
/// What a program in system mode calls for.
enum floor_system_call {
  FLOOR_SYSTEM_TIME,      ///< the time: no arguments, one result
  FLOOR_SYSTEM_ARGUMENTS, ///< a region that there is none of: two arguments, one result; the times are the counter's ticks
  FLOOR_SYSTEM_BLOCK,     ///< arm64: the time, by a block
};
/// The words ahead of the guests' code, where FLOOR_GUEST_SYSTEM finds its arguments.
struct floor_system {
  uint64_t kind;  ///< enum floor_system_call
  uint64_t count; ///< calls
  uint64_t times; ///< address of as many words, a multiple of 32; a struct applet_block lies before it
  uint64_t none;
};
/// All of the guests' code.
struct floor_code floor_guests(void);
/// Offset of a guest's first instruction in it.
size_t floor_guest_entry(enum floor_guest guest);

/// Work for a processor. Guests do it with the very same instructions.
enum floor_processor_work { FLOOR_WORK_INTEGER, FLOOR_WORK_MEMORY, FLOOR_WORK_FLOATING };
/// Bytes of memory that it is given, zeroed.
enum { FLOOR_WORK_MEMORY_SIZE = 1 << 20 };
/// Does it `count` times: `times` takes the time of each, and behind them a number that shows what was computed.
void floor_work_on_host(long count, int64_t *times, enum floor_processor_work work, long steps, uint64_t *memory);

#endif

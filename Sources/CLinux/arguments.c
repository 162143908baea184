#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"

#include <fcntl.h>
#include <poll.h>

// Without CommandLine of Swift's runtime and a common interface of the C libraries, arguments are found on the initial
// stack: the count, the strings, a null pointer, then the environment (System V ABI, "Process Initialization").
static char **words_end(void) { return environ - 1; }

int linux_argument_count(void) {
  int count = 0;
  while ((intptr_t)words_end()[-1 - count] != count) count++;
  return count;
}

char **linux_arguments(void) { return words_end() - linux_argument_count(); }

int linux_getopt(int count, char **words, const struct option *options, const char *shorts, const char **argument) {
  opterr = 0;
  int at = optind > 0 ? optind : 1;
  int found = getopt_long(count, words, shorts, options, NULL);
  *argument = found == '?' || found == ':' ? words[at] : optarg;
  return found;
}

void linux_getopt_begin(void) { optind = 0; }

int linux_getopt_index(void) { return optind; }

// The stack of the first thread grows up to a limit that the kernel checks each time (getrlimit(2), RLIMIT_STACK). The
// stacks of other threads have the same size.
enum { LEAST_STACK = 256 << 10 };

void linux_ensure_stack(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_STACK, &limit) < 0 || limit.rlim_cur >= LEAST_STACK) return;
  limit.rlim_cur = LEAST_STACK;
  // Root may raise the hard limit.
  if (limit.rlim_max < LEAST_STACK) limit.rlim_max = LEAST_STACK;
  if (setrlimit(RLIMIT_STACK, &limit) == 0) return;
  static const char words[] = "swiftlet: the stack is limited to less than 256 KiB: raise the limit (ulimit -s)\n";
  if (write(STDERR_FILENO, words, sizeof words - 1) < 0) _exit(123);
  _exit(123);
}

// If a standard stream is closed, the next descriptor that is opened would get its number, and data for the stream
// would be written there. So it gets a descriptor that rejects reads and writes.
void linux_fill_standard_streams(void) {
  struct pollfd streams[3] = {{.fd = 0}, {.fd = 1}, {.fd = 2}};
  if (poll(streams, 3, 0) <= 0) return;
  for (int stream = 0; stream < 3; stream++)
    if (streams[stream].revents & POLLNVAL && open("/dev/null", stream == 0 ? O_WRONLY : O_RDONLY) < 0) return;
}

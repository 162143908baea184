#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"

#include <fcntl.h>
#include <poll.h>

// Where Swift has no CommandLine of its own, and no C library hands its arguments on alike, the process's first stack has
// them: the count, the words, a null pointer, then the environment (System V ABI, "Process Initialization").
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

// Where a standard stream is closed, the next descriptor that is opened would take its number, and what is meant for the
// stream would reach that: so it gets a descriptor that refuses, as the closed one would.
void linux_fill_standard_streams(void) {
  struct pollfd streams[3] = {{.fd = 0}, {.fd = 1}, {.fd = 2}};
  if (poll(streams, 3, 0) <= 0) return;
  for (int stream = 0; stream < 3; stream++)
    if (streams[stream].revents & POLLNVAL && open("/dev/null", stream == 0 ? O_WRONLY : O_RDONLY) < 0) return;
}

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"

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

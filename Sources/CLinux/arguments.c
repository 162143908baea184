#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "CLinux.h"

static int argument_count;
static char **argument_words;

// glibc hands main's arguments to constructors too: the one way to them where Swift's CommandLine does not exist.
__attribute__((constructor)) static void keep(int count, char **words, char **environment) {
  (void)environment;
  argument_count = count;
  argument_words = words;
}

int linux_argument_count(void) { return argument_count; }
char **linux_arguments(void) { return argument_words; }

int linux_getopt(int count, char **words, const struct option *options, const char *shorts, const char **argument) {
  opterr = 0;
  int at = optind > 0 ? optind : 1;
  int found = getopt_long(count, words, shorts, options, NULL);
  *argument = found == '?' || found == ':' ? words[at] : optarg;
  return found;
}

int linux_getopt_index(void) { return optind; }

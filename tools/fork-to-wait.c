/* What a process costs its parent: forks, executes a command, waits, and prints `NANOSECONDS KIB`: the median of as many
 * runs as the first argument says, and the most memory that one had resident. The command's output goes to /dev/null. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000ll + time.tv_nsec;
}

static int compare(const void *a, const void *b) {
  int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
  return (left > right) - (left < right);
}

int main(int count, char **arguments) {
  long runs = count > 2 ? strtol(arguments[1], NULL, 10) : 0;
  int64_t *times = runs > 0 ? malloc(sizeof *times * (size_t)runs) : NULL;
  if (!times) {
    fprintf(stderr, "usage: fork-to-wait RUNS COMMAND [ARGUMENT]...\n");
    return 2;
  }
  int null = open("/dev/null", O_WRONLY);
  for (long run = 0; run < runs; run++) {
    int64_t start = now();
    pid_t child = fork();
    if (child == 0) {
      dup2(null, STDOUT_FILENO);
      execv(arguments[2], arguments + 2);
      _exit(127);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
      fprintf(stderr, "fork-to-wait: %s failed\n", arguments[2]);
      return 1;
    }
    times[run] = now() - start;
  }
  qsort(times, (size_t)runs, sizeof *times, compare);
  struct rusage usage;
  getrusage(RUSAGE_CHILDREN, &usage);
  printf("%lld %ld\n", (long long)times[runs / 2], usage.ru_maxrss);
  return 0;
}

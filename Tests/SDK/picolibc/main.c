/* picolibc on an applet's calls: files, numbers, sorting, time, random bytes, jumps, arguments, the heap. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static jmp_buf buffer;
static int constructed;
__attribute__((constructor)) static void construct(void) { constructed = (int)strtol("42", NULL, 10); }
__attribute__((destructor)) static void destroy(void) { puts("destructor"); }
static void at_exit(void) { puts("atexit"); }

static int compare(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

int main(int argc, char **argv) {
  char line[256], bytes[16] = {0};
  static double numbers[64];
  static int count;
  printf("constructed %d, %d arguments", constructed, argc);
  for (int i = 1; i < argc; i++) {
    printf(" [%s]", argv[i]);
  }
  printf(", end %d\n", argv[argc] == NULL);
  if (setjmp(buffer)) {
    puts("longjmp");
  }
  while (fgets(line, sizeof line, stdin)) {
    if (strncmp(line, "jump", 4) == 0) {
      longjmp(buffer, 1);
    }
    char *end;
    double value = strtod(line, &end);
    if (end == line) {
      fprintf(stderr, "not a number: %s", line);
      continue;
    }
    numbers[count++] = value;
    qsort(numbers, (size_t)count, sizeof *numbers, compare);
    printf("median %.3f, root %.10g, power %g\n", numbers[count / 2], sqrt(value), pow(value, 1.5));
  }
  struct timespec duration = {0, 5000000}, before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  nanosleep(&duration, NULL);
  clock_gettime(CLOCK_MONOTONIC, &after);
  long long passed = (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
  struct timeval now;
  gettimeofday(&now, NULL);
  printf("slept %d, time %d\n", passed >= 5000000, now.tv_sec > 0 && time(NULL) >= now.tv_sec);
  getentropy(bytes, sizeof bytes);
  int sum = 0;
  for (unsigned i = 0; i < sizeof bytes; i++) {
    sum |= bytes[i];
  }
  printf("random %d\n", sum != 0);
  char *text = malloc(100);
  int length = snprintf(text, 100, "%5.2f|%-8s|%08llx|%s", 3.14159, "left", 0x1234567890ull, strerror(ENOENT));
  printf("%s (%d)\n", text, length);
  free(text);
  void *volatile huge = malloc((size_t)1 << 40);
  printf("too much: %d %d\n", huge == NULL, errno == ENOMEM);
  atexit(at_exit);
  if (argc > 2) {
    abort();
  }
  return 5;
}

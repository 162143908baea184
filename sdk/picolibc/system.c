/* What picolibc requires of a system, on an applet's calls; swiftlet-cc --with-picolibc compiles it into the applet.
 * main gets argc and argv. Standard output is written by lines, and before standard input is read. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "applet.h"

static struct {
  size_t length;
  char bytes[512];
} output;

static int flush(FILE *file) {
  (void)file;
  if (output.length > 0) {
    applet_write(output.bytes, output.length);
  }
  output.length = 0;
  return 0;
}

static int put(char character, FILE *file) {
  if (output.length == sizeof output.bytes) {
    flush(file);
  }
  output.bytes[output.length++] = character;
  if (character == '\n') {
    flush(file);
  }
  return (unsigned char)character;
}

static int get(FILE *file) {
  static char bytes[512];
  static size_t start, end;
  if (start == end) {
    flush(file);
    int64_t count = applet_read(bytes, sizeof bytes);
    if (count <= 0) {
      return count == 0 ? _FDEV_EOF : _FDEV_ERR;
    }
    start = 0;
    end = (size_t)count;
  }
  return (unsigned char)bytes[start++];
}

static FILE console = FDEV_SETUP_STREAM(put, get, flush, _FDEV_SETUP_RW);
FILE *const stdin = &console, *const stdout = &console, *const stderr = &console;

void _exit(int status) {
  flush(NULL);
  applet_exit(status);
}

/* The heap's region, for malloc. */
void *sbrk(ptrdiff_t increment) {
  static char *start, *now, *end;
  if (now == NULL) {
    struct applet_region region = region_of_use(APPLET_USE_HEAP);
    start = now = (char *)region.start;
    end = now + region.length;
  }
  if (increment > end - now || increment < start - now) {
    errno = ENOMEM;
    return (void *)-1;
  }
  char *before = now;
  now += increment;
  return before;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  int64_t now = clock == CLOCK_REALTIME ? applet_nanotime() : nanotime();
  *time = (struct timespec){now / 1000000000, now % 1000000000};
  return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  (void)zone;
  int64_t now = applet_nanotime();
  *time = (struct timeval){now / 1000000000, now / 1000 % 1000000};
  return 0;
}

int nanosleep(const struct timespec *duration, struct timespec *rest) {
  (void)rest;
  applet_sleep((uint64_t)duration->tv_sec * 1000000000 + (uint64_t)duration->tv_nsec);
  return 0;
}

int usleep(useconds_t duration) {
  applet_sleep((uint64_t)duration * 1000);
  return 0;
}

unsigned sleep(unsigned seconds) {
  applet_sleep((uint64_t)seconds * 1000000000);
  return 0;
}

int getentropy(void *bytes, size_t length) {
  applet_getrandom(bytes, length);
  return 0;
}

int kill(pid_t process, int signal) { /* raise, abort */
  (void)process;
  flush(NULL);
  applet_exit(128 + signal);
}

pid_t getpid(void) {
  return 1;
}

typedef void (*initializer)(void);
extern const initializer initializers_start[], initializers_end[]; /* applet.ld */
int main(int argc, char **argv);

/* In the place of start.c. picolibc's exit calls destructors. */
void __applet_start(const void *tree) {
  (void)tree;
  int64_t size = applet_arguments(NULL, 0);
  char *bytes = malloc((size_t)size + 1);
  char **argv = malloc(((size_t)size + 1) * sizeof *argv);
  int argc = 0;
  if (bytes == NULL || argv == NULL) {
    panic("no memory for the arguments");
  }
  applet_arguments(bytes, (size_t)size);
  for (int64_t at = 0; at < size; at += (int64_t)strlen(bytes + at) + 1) {
    argv[argc++] = bytes + at;
  }
  argv[argc] = NULL;
  for (const initializer *one = initializers_start; one != initializers_end; one++) {
    (*one)();
  }
  exit(main(argc, argv));
}

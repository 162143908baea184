/* The end of an applet. */
#include "applet.h"

typedef void (*finalizer)(void);
/* applet.ld */
extern const finalizer finalizers_start[] __attribute__((visibility("hidden")));
extern const finalizer finalizers_end[] __attribute__((visibility("hidden")));

/* What runs before the end: nothing, unless atexit.c and putchar.c are linked, which have definitions of their own. */
__attribute__((weak)) void __applet_run_exit_functions(void) {}
__attribute__((weak)) void flush_output(void) {}

void exit(int status) {
  __applet_run_exit_functions();
  for (const finalizer *one = finalizers_end; one != finalizers_start;) {
    (*--one)();
  }
  flush_output();
  applet_exit(status);
}

void abort(void) {
  applet_exit(134); /* what a shell shows for SIGABRT */
}

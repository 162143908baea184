/* Functions that run at exit, the last registered first; a destructor of a C++ object is one. */
#include "applet.h"

struct exit_function {
  struct exit_function *next;
  void (*function)(void *);
  void *argument;
};

static struct exit_function *functions;

/* C++ ABI for the Itanium architecture, 3.3.6.3. The handle names a shared library, of which there are none. */
void *__dso_handle;

int __cxa_atexit(void (*function)(void *), void *argument, void *handle) {
  (void)handle;
  struct exit_function *one = malloc(sizeof *one);
  if (one == NULL) {
    return -1;
  }
  *one = (struct exit_function){functions, function, argument};
  functions = one;
  return 0;
}

/* A thread-local object's: the only thread ends with the applet. */
int __cxa_thread_atexit(void (*function)(void *), void *argument, void *handle) {
  return __cxa_atexit(function, argument, handle);
}

static void call(void *function) {
  ((void (*)(void))function)();
}

int atexit(void (*function)(void)) {
  return __cxa_atexit(call, (void *)function, NULL);
}

void __applet_run_exit_functions(void) {
  while (functions != NULL) {
    struct exit_function *one = functions;
    functions = one->next;
    one->function(one->argument);
  }
}

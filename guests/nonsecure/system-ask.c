/* A program with a secure applet as its peer (calls/trusted.c): makes the requests that its arguments name. */
#include "firmware.h"
#include "trusted.h"

static char stack[4096] __attribute__((aligned(64)));
static volatile int has_asked;

/* Runs on another CPU. */
static void ask_for_ever(uint64_t unused) {
  (void)unused;
  has_asked = 1;
  applet_secure(TRUSTED_SPIN, 0);
}

/* The shared memory must be reserved in the device tree. */
static void look_at(const void *tree) {
  struct applet_region shared = region_of_use(APPLET_USE_ADDED);
  size_t length, count;
  const void *reserved = tree_property(tree, "/reserved-memory/shared", "reg", &length);
  const void *memory = tree_property(tree, "/memory", "reg", &count);
  if (reserved == NULL || tree_cells(reserved, length, 0) != shared.start || tree_cells(reserved, length, 2) != shared.length ||
      memory == NULL || count != 32 || tree_cells(memory, count, 4) != shared.start) {
    panic("the device tree does not describe the shared memory");
  }
}

static void ask_all(void) {
  print("system-ask: 20 and 22 are %ld\n", (long)(applet_secure(TRUSTED_ADD, 20), applet_secure(TRUSTED_ADD, 22)));
  uint64_t sealed = (uint64_t)applet_secure(TRUSTED_SEAL, 42);
  print("system-ask: 42 is sealed%s, and opens to %ld\n", sealed == 42 ? " badly" : "",
        (long)applet_secure(TRUSTED_SEAL, sealed));
  struct applet_region shared = region_of_use(APPLET_USE_ADDED);
  static const char text[] = "!sdlrow owt eht";
  memcpy((void *)shared.start, text, sizeof text);
  int64_t length = applet_secure(TRUSTED_REVERSE, sizeof text - 1);
  print("system-ask: %ld bytes of shared memory: %s\n", (long)length, (const char *)shared.start);
  if (applet_secure(TRUSTED_REVERSE, shared.length + 1) != (int64_t)TRUSTED_REFUSED || applet_secure(1000, 0) != -22) {
    panic("a bad request is not refused");
  }
  if (applet_secure(TRUSTED_YIELD, 3) != 3 || applet_yield() != 0) {
    panic("no answer from an applet that yields");
  }
}

int main(const void *tree) {
  struct arguments arguments;
  arguments_of_tree(&arguments, tree);
  const char *what = argument(&arguments, 1);
  uint64_t value = argument(&arguments, 2) ? number_from(argument(&arguments, 2)) : 0;
  int64_t answer = 0;
  if (what == NULL) {
    look_at(tree);
    ask_all();
  } else if (text_after(what, "crash")) {
    answer = applet_secure(TRUSTED_CRASH, value);
    print("system-ask: crash: %ld, and then %ld, %ld\n", (long)answer, (long)applet_secure(TRUSTED_ADD, 1), (long)applet_yield());
  } else if (text_after(what, "exit")) {
    answer = applet_secure(TRUSTED_EXIT, value);
    print("system-ask: exit: %ld, and then %ld\n", (long)answer, (long)applet_yield());
  } else if (text_after(what, "spin")) {
    answer = applet_secure(TRUSTED_SPIN, 0);
  } else if (text_after(what, "both")) { /* on two CPUs */
    if (processor_start(1, ask_for_ever, 0, stack + sizeof stack) != 0) {
      panic("processor 1 does not start");
    }
    while (!has_asked) {
    }
    applet_sleep(50000000);
    answer = applet_secure(TRUSTED_ADD, 1);
  } else if (text_after(what, "sleep")) {
    answer = applet_secure(TRUSTED_SLEEP, value);
    print("system-ask: slept\n");
  } else if (text_after(what, "loop")) { /* for measuring */
    for (; value > 0; value--) {
      answer = applet_secure(TRUSTED_ADD, 0);
    }
  } else {
    /* without a peer */
    print("system-ask: %s\n", applet_secure(TRUSTED_ADD, 1) == NOT_SUPPORTED ? "not supported" : "there is a reply");
  }
  return 0;
}

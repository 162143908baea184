/* Continues after the first instructions: constructors, main, exit. Global names that are not in applet.h begin with __applet_, so that
 * an applet may have any of its own. */
#include "applet.h"

int main(const void *tree);

typedef void (*initializer)(void);
/* applet.ld */
extern const initializer initializers_start[] __attribute__((visibility("hidden")));
extern const initializer initializers_end[] __attribute__((visibility("hidden")));

__attribute__((noreturn, visibility("hidden"))) void __applet_start(const void *tree) {
  for (const initializer *one = initializers_start; one != initializers_end; one++) {
    (*one)();
  }
  exit(main(tree));
}

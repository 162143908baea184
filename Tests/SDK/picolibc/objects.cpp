// C++ with the C library, whose part for applets is compiled as C.
#include <stdio.h>

struct Object {
  Object() { puts("constructed"); }
};

static Object object;

int main(int count, char **words) {
  printf("%d %s\n", count, words[count - 1]);
  return 0;
}

/* Constructors and destructors in C, thread-local variables, setjmp, functions of the heap, and of the compiler's runtime. */
#include "applet.h"
#include "setjmp.h"

static int order;
static volatile int three = 3;
_Thread_local int first = 5, zeroed;
_Alignas(64) _Thread_local int aligned = 9;
static jmp_buf buffer;

__attribute__((constructor(102))) static void second(void) { order = order * 10 + 2; }
__attribute__((constructor(101))) static void before(void) { order = order * 10 + 1; }
__attribute__((constructor)) static void last(void) { order = order * 10 + 3; }
__attribute__((destructor)) static void destroy(void) { print("destructor\n"); }
static void at_exit(void) { print("atexit: last registered, first called\n"); }
static void at_exit_first(void) { print("atexit: first registered\n"); }

__attribute__((noinline)) static void jump(int value) { longjmp(buffer, value); }

int main(void) {
  print("constructors %d\n", order);
  zeroed += first++;
  print("thread-local %d %d %d %d\n", first, zeroed, aligned, (int)((uintptr_t)&aligned & 63));

  volatile int rounds = 0;
  volatile double kept = three * 1.5;
  int value = setjmp(buffer);
  rounds = rounds + 1;
  if (rounds < 3) {
    jump(rounds - 1); /* 0 arrives as 1 */
  }
  print("setjmp %d, %d rounds, %.1f kept\n", value, rounds, kept);

  char *text = calloc(3, 5);
  text[0] = 'a';
  text = realloc(text, 10000);
  print("heap %s %d %d\n", text, text[14], calloc(SIZE_MAX / 2, 3) == NULL);
  free(text);

  unsigned __int128 wide = ((unsigned __int128)three << 100) + 7;
  print("128 bits %llu %llu %d\n", (unsigned long long)(wide / 10 >> 64), (unsigned long long)(wide % 1000000007), (int)((__int128)wide >> three));
  print("counts %d %d %d\n", __builtin_clzll((unsigned)three), __builtin_ctz((unsigned)three << 5), __builtin_popcountll(0xffull << three));
  print("long double %.20Lf\n", (long double)three / 7);
  print("atomic %d\n", __atomic_fetch_add(&three, 4, __ATOMIC_SEQ_CST) + three);
  atexit(at_exit_first);
  atexit(at_exit);
  return 7;
}

// C++ without exceptions: objects of static storage, new and delete, virtual functions, static variables of functions, lambdas.
#include <initializer_list>
#include <new>

#include "applet.h"
#include "rpc.h"

static volatile int seed = 3;

struct Base {
  virtual int value() const = 0;
  virtual ~Base() { print("~Base\n"); }
};

struct Derived : Base {
  int number;
  explicit Derived(int number) : number(number) {}
  int value() const override { return number * seed; }
};

struct Global {
  int number;
  const char *name;
  explicit Global(const char *name) : number(seed * 14), name(name) {}
  ~Global() { print("~Global %s\n", name); }
};

static Global global("one"), other("two");
thread_local Global local("of the thread");

struct alignas(128) Wide {
  char bytes[200];
};

static int sum(std::initializer_list<int> numbers) {
  int sum = 0;
  for (int number : numbers) sum += number;
  return sum;
}

static Base &single() {
  static Derived object(seed + 1);
  return object;
}

int main() {
  print("global %d, static %d %d, thread-local %s\n", global.number, single().value(), single().value(), local.name);
  Base *base = new Derived(5);
  print("virtual %d\n", base->value());
  delete base;
  Wide *wide = new Wide[3];
  print("aligned %d\n", (int)(reinterpret_cast<uintptr_t>(wide) & 127));
  delete[] wide;
  alignas(Derived) char place[sizeof(Derived)];
  Derived *placed = new (place) Derived(6);
  print("placed %d\n", placed->value());
  placed->~Derived();
  char *volatile huge = new (std::nothrow) char[size_t(1) << 40];
  print("nothrow %d\n", huge == nullptr);
  auto twice = [](auto x) { return x + x; };
  print("sum %d, twice %d %.1f\n", sum({1, 2, seed}), twice(seed), twice(1.25 * seed));
}

#include "applet.h"

namespace {
class Greeting {
public:
  explicit Greeting(const char *name) : name(name) {}
  void say() const { print("hello, %s\n", name); }

private:
  const char *name;
};
} // namespace

int main() {
  static arguments arguments;
  arguments_load(&arguments);
  const char *name = argument(&arguments, 1);
  Greeting(name ? name : "world").say();
}

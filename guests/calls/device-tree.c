/* Prints values from its device tree, and its arguments from there. */
#include "applet.h"

int main(const void *tree) {
  if (tree != (const void *)region_of_use(APPLET_USE_DEVICE_TREE).start) {
    panic("the tree is at %p, not at its region", tree);
  }
  size_t length;
  const char *text = tree_property(tree, "/", "compatible", &length);
  print("device-tree: %s\n", text ? text : "none");
  text = tree_property(tree, "/hypervisor", "method", &length);
  print("device-tree: calls by %s\n", text ? text : "none");
  const void *version = tree_property(tree, "/hypervisor", "swiftlet,abi-version", &length);
  print("device-tree: interface %u.%u\n", tree_cell(version, length, 0), tree_cell(version, length, 1));
  const void *memory = tree_property(tree, "/memory", "reg", &length);
  for (size_t i = 0; i < length / 4; i += 4) {
    print("device-tree: memory 0x%lx, %lu KiB\n", tree_cells(memory, length, i), tree_cells(memory, length, i + 2) >> 10);
  }
  text = tree_property(tree, "/cpus/cpu", "device_type", &length);
  print("device-tree: first %s\n", text ? text : "none");
  if (tree_property(tree, "/cpus/nothing", "device_type", &length) || tree_property(tree, "/chosen", "nothing", &length)) {
    panic("what is not there was found");
  }
  struct arguments arguments, called;
  arguments_of_tree(&arguments, tree);
  arguments_load(&called);
  if (arguments.size != called.size || memcmp(arguments.bytes, called.bytes, called.size) != 0) {
    print("device-tree: the arguments differ from the call's\n"); /* a user's tree may have others */
  }
  for (size_t i = 0; argument(&arguments, i) != NULL; i++) {
    print("device-tree: argument %s\n", argument(&arguments, i));
  }
  text = tree_property(tree, "/settings", "greeting", &length); /* dts/overlays/settings.dtso */
  if (text != NULL) {
    const void *interval = tree_property(tree, "/settings", "interval", &length);
    print("device-tree: every %u ms: %s\n", tree_cell(interval, length, 0), text);
  }
  return 0;
}

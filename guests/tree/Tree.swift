import Applet

/// Prints the arguments in its device tree, one on a line.
@main
struct Tree {
  static func main() {
    guard let tree = DeviceTree() else { panic("no device tree") }
    guard tree.property("nothing", of: "/chosen") == nil else { panic("what is not there was found") }
    tree.withArguments { arguments in
      for index in 0..<arguments.count {
        print { out in
          out.write("tree: argument ")
          out.write(arguments[index])
        }
      }
    }
  }
}

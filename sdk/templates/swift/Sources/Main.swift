import Applet

@main
struct Main {
  static func main() {
    let name = withArguments { $0.string(at: 1) } ?? "world"
    print("hello, \(name)")
  }
}

import Applet

/// Writes a greeting with four calls: arguments, getrandom, write, exit.
@main
struct Hello {
  static func main() {
    withArguments { arguments in
      say(arguments)
      if let status = arguments[1].after("--status=") {
        guard let number = status.decimal else { panic("--status= wants a number") }
        Calls.exit(Int32(truncatingIfNeeded: number))
      }
    }
  }

  private static func say(_ arguments: borrowing Arguments) {
    var random = InlineArray<16, UInt8>(repeating: 0)
    var bytes = random.mutableSpan
    bytes.withUnsafeMutableBytes { Calls.random(into: $0) }

    print { out in
      out.write("hello from Swift on ")
      out.write(architecture)
      out.write("\narguments:")
      for index in 1..<max(arguments.count, 1) {
        out.write(" ")
        out.write(arguments[index])
      }
      out.write("\nrandom: ")
      out.hexadecimal(random.span)
    }
  }
}

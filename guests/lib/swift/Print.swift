/// Writes the text that the body builds, and a terminator: with one call if it has at most 512 bytes.
public func print(terminator: StaticString = "\n", _ body: (inout Text) -> Void) {
  withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Text.capacity) { bytes in
    guard let start = bytes.baseAddress else { return }
    var text = Text(start)
    body(&text)
    text.write(terminator)
    text.flush()
  }
}

/// Writes a line with one call.
public func print(_ text: StaticString, terminator: StaticString = "\n") {
  print(terminator: terminator) { $0.write(text) }
}

/// Writes a line with one call.
@_disfavoredOverload
public func print(_ text: String, terminator: StaticString = "\n") {
  print(terminator: terminator) { $0.write(text) }
}

/// Prints a message on the console and exits with status 134, which is what a shell reports for an abort.
public func panic(_ message: StaticString) -> Never {
  print {
    $0.write("panic: ")
    $0.write(message)
  }
  Calls.exit(134)
}

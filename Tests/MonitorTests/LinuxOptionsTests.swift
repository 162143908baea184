import Monitor
import Testing

/// Defaults of a kernel's command line.
struct LinuxOptionsTests {
  private func options(_ arguments: String) -> LinuxOptions {
    var options = LinuxOptions(kernel: "")
    options.arguments = arguments
    return options
  }

  @Test(arguments: [
    ("", "console=ttyS0 panic=-1 "), ("quiet", "console=ttyS0 panic=-1 quiet"),
    ("quiet\tconsole=hvc0\npanic=5", "quiet\tconsole=hvc0\npanic=5"),
    ("\"console=hvc0\" panic=\"5\"", "\"console=hvc0\" panic=\"5\""),
    // White space in quotes does not separate arguments, and those after "--" belong to init.
    ("x=\"a console=hvc0\" panic=1", "console=ttyS0 x=\"a console=hvc0\" panic=1"),
    ("x=\" console=hvc0", "console=ttyS0 panic=-1 x=\" console=hvc0"),
    ("quiet -- console=hvc0 panic=1", "console=ttyS0 panic=-1 quiet -- console=hvc0 panic=1"),
  ])
  func whatIsLeftOpenIsAdded(arguments: String, line: String) {
    #expect(options(arguments).commandLine == line)
  }

  @Test func theLastConsoleGetsTheInput() {
    #expect(!options("console=hvc0 console=ttyS0").usesVirtioConsole)
    #expect(options("console=ttyS0\tconsole=hvc0").usesVirtioConsole)
    #expect(options("console=\"hvc0\"").usesVirtioConsole)
    #expect(!options("x=\"\tconsole=hvc0\" -- console=hvc0").usesVirtioConsole)
  }
}

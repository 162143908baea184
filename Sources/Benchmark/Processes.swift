import CBaseline
import CLinux
import Platform

/// Processes, measured from outside.
struct Process: ~Copyable {
  /// The executable file of this process.
  let own: [CChar]
  /// /dev/null, for their output and errors.
  private let null: OwnedFD

  init(_ kernel: LinuxKernel) throws(BenchmarkError) {
    var own = [CChar](repeating: 0, count: 4096)
    let result = baseline_own_path(&own, own.count)
    try checkHost(result)
    null = try openNull(kernel)
    self.own = own
  }

  /// A program to run.
  enum Program {
    /// `swiftlet` with these arguments.
    case own([String])
    /// Another, by its path.
    case path(String)
    /// Another, by a descriptor of its file.
    case file(Int32)
  }

  /// Runs a program to its end.
  /// - Returns: the time from fork to wait.
  func time(_ program: Program) throws(BenchmarkError) -> Int64 {
    try run(program) { baseline_process($0, $1, $2, null.number, &$3, &$4) }
  }

  /// Runs a program to its end.
  /// - Returns: its resident memory before its end, in bytes.
  func memory(_ program: Program) throws(BenchmarkError) -> Int64 {
    try run(program) { baseline_process_memory($0, $1, $2, null.number, &$3, &$4) }
  }

  private typealias Arguments = UnsafePointer<UnsafeMutablePointer<CChar>?>

  private func run(
    _ program: Program, _ body: (UnsafePointer<CChar>?, Int32, Arguments, inout Int64, inout Int32) -> Int
  ) throws(BenchmarkError) -> Int64 {
    var found: Int64 = 0
    var status: Int32 = 0
    let result =
      switch program {
      case .own(let arguments): withArguments(["swiftlet"] + arguments) { body(own, -1, $0, &found, &status) }
      case .path(let path):
        withArguments([path]) { arguments in path.withCString { body($0, -1, arguments, &found, &status) } }
      case .file(let file): withArguments(["program"]) { body(nil, file, $0, &found, &status) }
      }
    try checkHost(result)
    guard status == 0 else { throw .process(status) }
    return found
  }

  /// Starts `swiftlet` with these arguments.
  /// - Returns: its process id.
  func start(_ arguments: String...) throws(BenchmarkError) -> Int {
    try checkHost(withArguments(["swiftlet"] + arguments) { baseline_start(own, $0, null.number) })
  }

  private func withArguments(_ arguments: [String], _ body: (Arguments) -> Int) -> Int {
    var arguments: [UnsafeMutablePointer<CChar>?] = arguments.map { $0.withCString { strdup($0) } }
    defer { for argument in arguments { free(argument) } }
    arguments.append(nil)
    return arguments.withUnsafeBufferPointer { arguments in
      // The array has at least a nil.
      arguments.baseAddress.map(body) ?? -Int(EINVAL)
    }
  }
}

/// A file that is removed with its owner.
struct TemporaryFile: ~Copyable {
  let path: String

  init(_ bytes: [UInt8]) throws(BenchmarkError) {
    var template = temporaryName
    try checkHost(baseline_temporary_file(&template, bytes, bytes.count))
    path = text(template)
  }

  deinit { _ = path.withCString { baseline_remove_file($0) } }
}

/// A directory that is removed with its owner, including a socket in it.
struct TemporaryDirectory: ~Copyable {
  let path: String

  init() throws(BenchmarkError) {
    var template = temporaryName
    try checkHost(baseline_temporary_directory(&template))
    path = text(template)
  }

  deinit {
    _ = linux_unlink(path + "/peer")
    _ = linux_rmdir(path + "/applets")
    _ = linux_rmdir(path)
  }
}

/// A process that answers RPC requests with their parameter.
struct EchoPeer: ~Copyable {
  let path: String
  private let process: Int

  /// - Parameter path: of its socket.
  init(_ path: String) throws(BenchmarkError) {
    // First: Swift 6.2 releases values wrongly if this throws later.
    process = try checkHost(baseline_echo_peer(path))
    self.path = path
  }

  deinit { _ = baseline_end(process, SIGKILL) }
}

func openNull(_ kernel: LinuxKernel) throws(BenchmarkError) -> OwnedFD {
  do { return try OwnedFD(opening: "/dev/null", flags: O_WRONLY, kernel: kernel) } catch { throw .host(error) }
}

/// A template for mkstemp(3) and mkdtemp(3), with its zero byte.
private var temporaryName: [CChar] {
  Array("\(getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")/swiftlet-bench-XXXXXX".utf8CString)
}

private func text(_ characters: [CChar]) -> String {
  String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

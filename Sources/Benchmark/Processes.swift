import CFloor
import CLinux
import Platform

/// Processes, timed from outside.
struct Process: ~Copyable {
  /// The executable file of this process.
  let own: [CChar]
  /// Where their output and errors go: /dev/null.
  private let null: OwnedFD

  init(_ kernel: LinuxKernel) throws(BenchmarkError) {
    var own = [CChar](repeating: 0, count: 4096)
    let result = floor_own_path(&own, own.count)
    try checkHost(result)
    null = try openNull(kernel)
    self.own = own
  }

  /// A program to run.
  enum Program {
    /// `swiftlet` with these words.
    case own([String])
    /// Another, by its path.
    case path(String)
    /// Another, by a descriptor of its file.
    case file(Int32)
  }

  /// Runs a program to its end.
  /// - Returns: the time from fork to wait.
  func time(_ program: Program) throws(BenchmarkError) -> Int64 {
    try run(program) { floor_process($0, $1, $2, null.number, &$3, &$4) }
  }

  /// Runs a program to its end.
  /// - Returns: bytes that it has resident when it is about to end.
  func memory(_ program: Program) throws(BenchmarkError) -> Int64 {
    try run(program) { floor_process_memory($0, $1, $2, null.number, &$3, &$4) }
  }

  private typealias Words = UnsafePointer<UnsafeMutablePointer<CChar>?>

  private func run(
    _ program: Program, _ body: (UnsafePointer<CChar>?, Int32, Words, inout Int64, inout Int32) -> Int
  ) throws(BenchmarkError) -> Int64 {
    var found: Int64 = 0
    var status: Int32 = 0
    let result =
      switch program {
      case .own(let words): withArguments(["swiftlet"] + words) { body(own, -1, $0, &found, &status) }
      case .path(let path): withArguments([path]) { words in path.withCString { body($0, -1, words, &found, &status) } }
      case .file(let file): withArguments(["program"]) { body(nil, file, $0, &found, &status) }
      }
    try checkHost(result)
    guard status == 0 else { throw .process(status) }
    return found
  }

  /// Starts `swiftlet` with these words.
  /// - Returns: its process id.
  func start(_ words: String...) throws(BenchmarkError) -> Int {
    try checkHost(withArguments(["swiftlet"] + words) { floor_start(own, $0, null.number) })
  }

  private func withArguments(_ words: [String], _ body: (Words) -> Int) -> Int {
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { $0.withCString { strdup($0) } }
    defer { for argument in arguments { free(argument) } }
    arguments.append(nil)
    return arguments.withUnsafeBufferPointer { words in
      // There is a nil at least.
      words.baseAddress.map(body) ?? -Int(EINVAL)
    }
  }
}

/// A file that goes with its owner.
struct TemporaryFile: ~Copyable {
  let path: String

  init(_ bytes: [UInt8]) throws(BenchmarkError) {
    var template = temporaryName
    try checkHost(floor_temporary_file(&template, bytes, bytes.count))
    path = text(template)
  }

  deinit { _ = path.withCString { floor_remove_file($0) } }
}

/// A folder that goes with its owner, once it is empty but for a socket.
struct TemporaryFolder: ~Copyable {
  let path: String

  init() throws(BenchmarkError) {
    var template = temporaryName
    try checkHost(floor_temporary_folder(&template))
    path = text(template)
  }

  deinit {
    _ = linux_unlink(path + "/peer")
    _ = linux_remove_folder(path + "/applets")
    _ = linux_remove_folder(path)
  }
}

/// A process that echoes what it is asked for by RPC.
struct EchoPeer: ~Copyable {
  let path: String
  private let process: Int

  /// - Parameter path: of its socket.
  init(_ path: String) throws(BenchmarkError) {
    // First: Swift 6.2 releases wrongly what has a value when this throws.
    process = try checkHost(floor_echo_peer(path))
    self.path = path
  }

  deinit { _ = floor_end(process, SIGKILL) }
}

func openNull(_ kernel: LinuxKernel) throws(BenchmarkError) -> OwnedFD {
  do { return try OwnedFD(opening: "/dev/null", flags: O_WRONLY, kernel: kernel) } catch { throw .host(error) }
}

/// For mkstemp(3) and mkdtemp(3), with the zero byte behind it.
private var temporaryName: [CChar] {
  Array("\(getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp")/swiftlet-bench-XXXXXX".utf8CString)
}

private func text(_ characters: [CChar]) -> String {
  String(decoding: characters.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

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

  struct Results {
    private var all: [(time: Int64, peak: Int64)] = []
    var isEmpty: Bool { all.isEmpty }
    mutating func add(_ one: (time: Int64, peak: Int64)) { all.append(one) }
    // The first found nothing in the kernel's caches.
    var times: Samples { Samples(all.dropFirst().map { $0.time }) }
    var peaks: Samples { Samples(all.dropFirst().map { $0.peak }) }
  }

  /// Runs `swiftlet` with these words to its end.
  /// - Returns: the time from fork to wait, and the most bytes that it had resident.
  func run(_ words: String...) throws(BenchmarkError) -> (time: Int64, peak: Int64) {
    try run(own, -1, ["swiftlet"] + words)
  }

  /// Runs another program: by its path, or by a descriptor of its file.
  func run(program: String) throws(BenchmarkError) -> (time: Int64, peak: Int64) {
    try run(Array(program.utf8CString), -1, [program])
  }
  func run(program: borrowing OwnedFD) throws(BenchmarkError) -> (time: Int64, peak: Int64) {
    try run(nil, program.number, ["program"])
  }

  private func run(_ path: [CChar]?, _ program: Int32, _ words: [String]) throws(BenchmarkError) -> (Int64, Int64) {
    var time: Int64 = 0
    var peak: Int64 = 0
    var status: Int32 = 0
    let result = withArguments(words) { words in
      guard let path else { return floor_process(nil, program, words, null.number, &time, &peak, &status) }
      return floor_process(path, program, words, null.number, &time, &peak, &status)
    }
    try checkHost(result)
    guard status == 0 else { throw .process(status) }
    return (time, peak)
  }

  /// Starts `swiftlet` with these words.
  /// - Returns: its process id.
  func start(_ words: String...) throws(BenchmarkError) -> Int {
    try checkHost(withArguments(["swiftlet"] + words) { floor_start(own, $0, null.number) })
  }

  private func withArguments(_ words: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Int) -> Int {
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
    self.path = path
    process = try checkHost(floor_echo_peer(path))
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

import Applet
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// The ways to make contexts. Tests of calls and runs are repeated for each.
struct Host: CustomTestStringConvertible, Sendable {
  let architecture: Architecture
  let transport: ExecCtx.Transport

  var testDescription: String { "\(architecture.name) by \(transport)" }

  static let riscv64 = Host(architecture: .riscv64, transport: .sbi)
  static let all = [
    Host(architecture: .arm64, transport: .hvc), Host(architecture: .arm64, transport: .mmio), riscv64,
  ]
}

/// A context of the ordinary test applet with 1 MiB of memory on a scripted kernel, its input and output in files.
///
/// Its memory: text 0x80000000, constants 0x80001000, variables 0x80002000, device tree 0x80004000, a guard page at 0x8000f000,
/// stack 0x80010000 to 0x80050000, the monitor's pages, heap from 0x8006b000.
final class Fixture {
  let kernel: ScriptedKernel
  let context: ExecCtx
  let output: Capture

  static let text: UInt64 = 0x8000_0000
  static let constants: UInt64 = 0x8000_1000
  static let variables: UInt64 = 0x8000_2000
  static let guardPage: UInt64 = 0x8000_f000
  static let stack: UInt64 = 0x8001_0000
  /// The end of the stack.
  static let end: UInt64 = 0x8005_0000
  static let heap: UInt64 = 0x8006_b000

  /// A deadline for a run that is started now: long enough that the guest has been entered, on a busy machine, too.
  static var deadlineAfterEntry: Int64 { Clock.monotonic + 500_000_000 }

  init(
    _ host: Host, arguments: [String] = ["test.elf"], input: Int32 = -1, kernel given: ScriptedKernel? = nil,
    layout: SecureLayout.Kind? = nil, _ steps: [(Guest) -> Int] = []
  ) throws {
    let kernel = given ?? ScriptedKernel(host.architecture)
    output = try Capture()
    self.kernel = kernel
    context = try Self.context(
      host, kernel, arguments: arguments, input: input, output: output.descriptor,
      layout: layout)
    kernel.script(steps)
  }

  static func context(
    _ host: Host, _ kernel: ScriptedKernel, arguments: [String] = ["test.elf"], input: Int32 = -1, output: Int32 = -1,
    memory: UInt64 = 1 << 20, layout: SecureLayout.Kind? = nil
  ) throws(LoadError) -> ExecCtx {
    var options = ExecCtx.Options()
    options.arguments = arguments
    options.transport = host.architecture == .arm64 ? host.transport : nil
    options.input = input
    options.output = output
    options.layout = layout
    let system: System
    do { system = try System(kernel: kernel) } catch { throw .kvm(error) }
    return try ExecCtx(
      image: try image(host.architecture, kernel), memorySize: memory, system: system,
      architecture: host.architecture, options: options)
  }

  static func image(_ architecture: Architecture, _ kernel: ScriptedKernel) throws(LoadError) -> AppletImage {
    try image(ELFBuilder.applet(architecture), architecture, kernel)
  }

  /// - Parameter architecture: the host's.
  static func image(_ file: ELFBuilder, _ architecture: Architecture, _ kernel: ScriptedKernel) throws(LoadError)
    -> AppletImage
  {
    let bytes = file.bytes()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { buffer.deallocate() }
    buffer.copyBytes(from: bytes)
    let contents: FileContents
    do { contents = try FileContents(copying: UnsafeRawBufferPointer(buffer), kernel: kernel) } catch {
      throw .image(.unreadable(error))
    }
    do { return try AppletImage(contents, architecture: architecture) } catch { throw .image(error) }
  }

  /// Runs the context; returns its outcome.
  func run() -> Result<Outcome, ExecError> { Result { () throws(ExecError) in try context.run() } }

  /// Guest memory by address.
  func bytes(at address: UInt64, count: Int) -> [UInt8] { Array(context.memory.bytes(at: address, count: count)) }
}

/// A socket that preserves the boundaries of writes.
final class Capture {
  /// The descriptor to write to.
  let descriptor: Int32
  private let other: Int32

  init() throws {
    var pair: [Int32] = [-1, -1]
    try #require(socketpair(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0, &pair) == 0)
    (descriptor, other) = (pair[0], pair[1])
  }

  deinit {
    close(descriptor)
    close(other)
  }

  /// The data written since the last call, one element for each write.
  func pieces() -> [String] {
    var pieces: [String] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 18)
    while true {
      let count = recv(other, &buffer, buffer.count, Int32(MSG_DONTWAIT))
      guard count >= 0 else { return pieces }
      pieces.append(String(decoding: buffer[..<count], as: UTF8.self))
    }
  }
}

/// A pipe for a context's input.
final class Feed: @unchecked Sendable {
  let descriptor: Int32
  private var end: Int32

  init(_ text: String = "", isEnded: Bool = false) throws {
    var pair: [Int32] = [-1, -1]
    try #require(pipe(&pair) == 0)
    (descriptor, end) = (pair[0], pair[1])
    write(text)
    if isEnded { close() }
  }

  func write(_ text: String) {
    let bytes = Array(text.utf8)
    _ = linux_write(end, bytes, bytes.count)
  }

  func close() {
    if end >= 0 { _ = linux_close(end) }
    end = -1
  }

  deinit {
    close()
    _ = linux_close(descriptor)
  }
}

/// Records values that closures of a script see.
final class Notes<Note> {
  var list: [Note] = []
  func callAsFunction(_ note: Note) { list.append(note) }
}

/// Signals an event to other threads.
final class Flag: @unchecked Sendable {
  private let lock = Lock()
  private var isSet = false
  func set() {
    lock.withLock {
      isSet = true
      lock.wakeAll()
    }
  }
  /// Waits for the event, at most 20 seconds.
  func wait() { _ = wait(until: Clock.monotonic + 20_000_000_000) }

  /// - Returns: whether it has occurred.
  func wait(until end: Int64) -> Bool {
    lock.withLock {
      while !isSet, Clock.monotonic < end { lock.wait(until: end) }
      return isSet
    }
  }
}

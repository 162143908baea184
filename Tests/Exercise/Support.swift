import Applet
import CExercise
import CLinux
import KVM
import Machine
import Monitor
import Platform
import Synchronization

/// Why a case failed.
struct Failure: Error {
  let why: String
  init(_ why: String) { self.why = why }
}

/// Fails the case unless the condition is true.
func expect(_ isSo: Bool, _ why: @autoclosure () -> String) throws(Failure) { if !isSo { throw Failure(why()) } }

/// Fails the case unless the two numbers are equal.
func equal<Number: FixedWidthInteger>(_ found: Number, _ wanted: Number, _ what: StaticString) throws(Failure) {
  if found != wanted { throw Failure("\(what.description) is \(found), not \(wanted)") }
}

/// The kernel, with counters of its calls.
final class CountingKernel: Kernel {
  private let linux = LinuxKernel()
  private(set) var runs = 0
  private(set) var otherControls = 0

  func open(_ path: UnsafePointer<CChar>, flags: Int32) -> Int { linux.open(path, flags: flags) }
  func close(_ descriptor: Int32) -> Int { linux.close(descriptor) }
  func ioctl(_ descriptor: Int32, _ request: UInt, _ argument: UInt) -> Int {
    // Contexts with several threads share it; only cases with one thread read the counters.
    if request == LINUX_KVM_RUN { runs &+= 1 } else { otherControls &+= 1 }
    return linux.ioctl(descriptor, request, argument)
  }
  func map(length: Int, protection: Int32, flags: Int32, descriptor: Int32) -> Int {
    linux.map(length: length, protection: protection, flags: flags, descriptor: descriptor)
  }
  func unmap(_ address: UnsafeMutableRawPointer, length: Int) -> Int { linux.unmap(address, length: length) }
}

/// The common state of all cases.
final class Host {
  let kernel = CountingKernel()
  let system: System
  let architecture: Architecture
  let transport: ExecCtx.Transport?
  /// The directory of the applets.
  let guests: String
  let null: Int32

  init(guests: String, transport: ExecCtx.Transport?) throws(Failure) {
    guard let architecture = Architecture.host else { throw Failure("this host runs no applets") }
    self.architecture = architecture
    self.guests = guests
    self.transport = transport
    null = Int32(linux_open("/dev/null", O_RDWR | O_CLOEXEC, 0))
    do { system = try System(kernel: kernel) } catch { throw Failure(error.description) }
  }

  /// A context of an applet by its name. By default its output is discarded, and its input is at its end.
  func context(
    _ name: String, _ arguments: [String] = [], output: Int32? = nil, input: Int32? = nil,
    memory: UInt64 = SecureLayout.defaultMemory
  ) throws(Failure) -> ExecCtx {
    let image = try image(name)
    var options = ExecCtx.Options()
    options.transport = transport
    options.arguments = [name] + arguments
    options.output = output ?? null
    options.input = input ?? null
    do {
      return try ExecCtx(
        image: image, memorySize: memory, system: system, architecture: architecture, options: options)
    } catch { throw Failure("\(name): \(error.description)") }
  }

  func image(_ name: String) throws(Failure) -> AppletImage {
    do { return try AppletImage(path: "\(guests)/\(name).elf", architecture: architecture, kernel: kernel) } catch {
      throw Failure("\(name): \(error.description)")
    }
  }

  /// The applet `registers`, which uses all registers for a number of rounds.
  func registers(_ rounds: Int) throws(Failure) -> ExecCtx { try context("registers", registersArguments(rounds)) }

  /// On emulated riscv64 boards a guest's fcsr is sometimes zero after its thread was preempted, which makes copies
  /// differ. So it stays zero there.
  func registersArguments(_ rounds: Int) -> [String] {
    architecture == .arm64 ? ["\(rounds)"] : ["\(rounds)", "0"]
  }

  /// Makes copies of a context and sets them as its shadows.
  func addShadows(_ count: Int, to context: ExecCtx, parallel: Bool = false) throws(Failure) {
    var shadows: [ExecCtx] = []
    for _ in 0..<count { shadows.append(try clone(of: context)) }
    do { try context.setShadows(shadows, parallel: parallel) } catch { throw Failure(error.description) }
  }

  func clone(of context: ExecCtx) throws(Failure) -> ExecCtx {
    do { return try context.clone(on: system) } catch { throw Failure(error.description) }
  }

  func removeShadows(of context: ExecCtx) throws(Failure) {
    do { try context.setShadows([]) } catch { throw Failure(error.description) }
  }

  func sharedMemory(_ count: Int) throws(Failure) -> SharedMemory {
    do { return try SharedMemory(count: count, kernel: kernel) } catch { throw Failure(error.description) }
  }
}

/// Whether a text contains another one.
func has(_ text: String, _ part: String) -> Bool {
  let (text, part) = (Array(text.utf8), Array(part.utf8))
  guard part.count <= text.count else { return false }
  return (0...text.count - part.count).contains { start in text[start...].starts(with: part) }
}

/// How a run ended.
typealias Ending = Result<Outcome, ExecError>

func text(_ ending: Ending) -> String {
  switch ending {
  case .success(.exited(let status)): "exited with status \(status)"
  case .success(.stopped): "stopped"
  case .success(.shutdown): "shut down"
  case .success(.reset): "reset"
  case .failure(let error): error.description
  }
}

func run(_ context: ExecCtx) -> Ending {
  do throws(ExecError) { return .success(try context.run()) } catch { return .failure(error) }
}

/// Runs a context and fails the case unless it has this outcome.
func expectRun(_ context: ExecCtx, _ wanted: Outcome = .exited(status: 0)) throws(Failure) {
  try expectEnding(run(context), .success(wanted))
}

func expectEnding(_ found: Ending, _ wanted: Ending) throws(Failure) {
  if found != wanted { throw Failure("it ended so: \(text(found)); not so: \(text(wanted))") }
}

/// Calls `body`, and turns its error into a failure.
@discardableResult
func monitored<Value>(_ body: () throws(ExecError) -> Value) throws(Failure) -> Value {
  do { return try body() } catch { throw Failure(error.description) }
}

extension ExecCtx {
  /// A general register that exists.
  func value(of number: Int) -> UInt64 { (try? register(number)) ?? 0 }
  func setValue(of number: Int, _ value: UInt64) { try? setRegister(number, value) }
}

/// A flag that threads share.
final class Flag: Sendable {
  private let value = Atomic<Int>(0)
  init() {}
  var number: Int {
    get { value.load(ordering: .sequentiallyConsistent) }
    set { value.store(newValue, ordering: .sequentiallyConsistent) }
  }
  var isSet: Bool { number != 0 }
  func set() { add(1) }
  func add(_ more: Int) { value.add(more, ordering: .sequentiallyConsistent) }

  /// Waits until it is set, or has the expected number.
  func wait(seconds: Int64 = 20, _ isSo: (Int) -> Bool = { $0 != 0 }) throws(Failure) {
    let end = Clock.monotonic + seconds * 1_000_000_000
    while !isSo(number) {
      if Clock.monotonic > end { throw Failure("what was waited for has not happened within \(seconds) s") }
      sleepFor(microseconds: 200)
    }
  }
}

func sleepFor(microseconds: Int) { usleep(UInt32(microseconds)) }

func started(_ body: @escaping @Sendable () -> Void) throws(Failure) -> Thread {
  do { return try Thread(body) } catch { throw Failure("no thread: \(error.description)") }
}

/// A context that runs on a thread of its own.
final class Runner: @unchecked Sendable {
  let context: ExecCtx
  private var thread: Thread?
  /// Written by the thread before it ends, read after it was joined.
  private var ending: Ending = .success(.stopped)
  /// The CLOCK_MONOTONIC time in nanoseconds at which the run ended.
  private(set) var endedAt: Int64 = 0

  init(_ context: ExecCtx) throws(Failure) {
    self.context = context
    thread = try started { [self] in
      ending = run(self.context)
      endedAt = Clock.monotonic
    }
  }

  /// Waits for the end of the run.
  func end(seconds: Int64 = 30) throws(Failure) -> Ending {
    guard context.waitUntilDone(deadline: Clock.monotonic + seconds * 1_000_000_000) else {
      throw Failure("it still runs after \(seconds) s")
    }
    thread?.join()
    return ending
  }

  /// Stops it, and fails the case unless it has this outcome.
  func expectStop() throws(Failure) {
    context.stop()
    try expectEnding(try end(), .success(.stopped))
  }
}

/// Stops a context repeatedly, and runs it again each time, until it exits with status 0.
/// - Parameter pause: microseconds before the stop with this number, from 0. It must grow: on a slow machine the
///   context might otherwise make no progress between two stops.
/// - Returns: the number of stops.
func stopAndRunOn(_ context: ExecCtx, pause: (Int) -> Int) throws(Failure) -> Int {
  for stops in 0..<20000 {
    let runner = try Runner(context)
    sleepFor(microseconds: pause(stops))
    context.stop()
    let ending = try runner.end()
    if ending == .success(.exited(status: 0)) { return stops }
    try expectEnding(ending, .success(.stopped))
  }
  throw Failure("no end after 20000 stops")
}

/// A pipe for an applet's output or input.
final class Pipe {
  let reading: Int32
  let writing: Int32

  init() throws(Failure) {
    var ends: (Int32, Int32) = (-1, -1)
    let result = withUnsafeMutableBytes(of: &ends) { pipe($0.baseAddress!.assumingMemoryBound(to: Int32.self)) }
    guard result == 0 else { throw Failure("no pipe") }
    (reading, writing) = ends
  }

  deinit {
    close(reading)
    close(writing)
  }

  /// The data that has been written to it, at most 64 KiB.
  func contents() -> String {
    _ = exercise_nonblocking(reading)
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = bytes.withUnsafeMutableBytes { linux_read(reading, $0.baseAddress, $0.count) }
    return String(decoding: bytes.prefix(max(count, 0)), as: UTF8.self)
  }

  func write(_ text: String) {
    var text = text
    text.withUTF8 { _ = linux_write(writing, $0.baseAddress, $0.count) }
  }
}

/// Resources of the process that a case must release.
struct Holdings: Equatable {
  let descriptors = exercise_descriptors()
  let threads = exercise_threads()
  let runPages = exercise_run_pages()
  let guestMemory = exercise_guest_memory()

  static func == (a: Self, b: Self) -> Bool {
    a.descriptors == b.descriptors && a.threads == b.threads && a.runPages == b.runPages
      && a.guestMemory == b.guestMemory
  }

  var description: String {
    "\(descriptors) descriptors, \(threads) threads, \(runPages) run pages, \(guestMemory) KiB of guest memory"
  }
}

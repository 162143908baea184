import Applet
import CLinux
import Control
import DeviceTree
import JSON
import KVM
import Machine
import Monitor
import Platform

/// A worker: the process in which the daemon runs one applet.
public enum Worker {
  /// The word by which the program knows that it is one.
  public static let command = "worker"

  /// Why the applet does not come to run.
  struct Failure: Error {
    let end: RunEnd
    /// Whether it is about the image.
    var isImage = false
  }

  /// What the process does: runs the applet that it was started for.
  /// - Returns: its exit status.
  public static func run() -> Int32 { run(kernel: LinuxKernel(), architecture: Architecture.host) }

  static func run(kernel: any Kernel, architecture: Architecture?) -> Int32 {
    do throws(Failure) { return try perform(kernel, architecture) } catch {
      var members = [JSONMember("error", error.end.record)]
      if error.isImage { members.append(JSONMember("image", .bool(true))) }
      report(.object(members))
      return leave(error.end)
    }
  }

  private static func perform(_ kernel: any Kernel, _ architecture: Architecture?) throws(Failure) -> Int32 {
    guard let architecture else { throw host("this host is neither ARM64 nor RISC-V") }
    let configuration = try readConfiguration(kernel)
    let request = configuration.request
    let image: AppletImage
    do {
      image = try AppletImage(OwnedFD(adopting: WorkerFile.image.rawValue, kernel: kernel), architecture: architecture)
    } catch {
      throw Failure(end: RunEnd(code: error.isUnreadable ? 127 : 126, reason: error.description), isImage: true)
    }
    let system: System
    do { system = try System(kernel: kernel) } catch { throw host(error.description) }
    // The device is open: nothing else that follows needs the rights of root.
    if let user = configuration.user, linux_is_root() {
      if let errno = Errno(result: linux_become(user, configuration.group ?? user)) {
        throw host("the worker cannot become user \(user): \(errno.description)")
      }
    }
    var options = ExecCtx.Options()
    options.arguments = [configuration.name] + request.arguments
    options.processors = request.cpus
    let context: ExecCtx
    do throws(LoadError) {
      context = try ExecCtx(
        image: image, secure: request.isSecure,
        memorySize: request.memory.map { UInt64($0) } ?? SecureLayout.defaultMemory, system: system,
        architecture: architecture, options: options)
    } catch {
      switch error {
      case .image(let error): throw Failure(end: RunEnd(code: 126, reason: error.description), isImage: true)
      case .deviceTree(let error): throw Failure(end: RunEnd(code: 126, reason: error.description), isImage: true)
      case .kvm(let error): throw host(error.description)
      }
    }
    forgetOldOutput(configuration.history)
    context.console.history = configuration.history
    if request.copies > 0 {
      do throws(KVMError) {
        var shadows: [ExecCtx] = []
        for _ in 0..<request.copies { shadows.append(try context.clone(on: system)) }
        try context.setShadows(shadows, parallel: request.isParallel)
      } catch { throw host(error.description) }
    }
    let began = Clock.monotonic
    setLimits(request.limits, of: context, since: began)
    let requests = WorkerRequests(request, began: began)
    let services = AppletServices(configuration, values: WorkerFile.values.rawValue) {
      // What the daemon asks for is the first processor's to answer: registers and timers are its thread's.
      if context.isFirstProcessorsCall { requests.answer(context) }
      return requests.isStopping || context.deadline.map { Clock.monotonic >= $0 } ?? false
    }
    context.server = services.server
    if let errno = Errno(result: linux_kick_when_ready(WorkerFile.requests.rawValue)) {
      throw host("the worker cannot listen to the daemon: \(errno.description)")
    }
    context.attend(to: WorkerFile.requests.rawValue) { requests.answer($0) }
    if configuration.isSandboxed {
      // A processor may need a descriptor to wait with.
      let isSeveral = request.copies > 0 || request.cpus > 1
      linux_limit_process(64 + 2 * UInt32(request.cpus), isSeveral)
      do { try Sandbox.enter(architecture, for: .worker(several: isSeveral)) } catch {
        throw host(error.description)
      }
    }
    report(.object([JSONMember("running", .bool(true))]))
    return finish(context)
  }

  /// Writes the record of an end.
  /// - Returns: the exit status.
  private static func leave(_ end: RunEnd) -> Int32 {
    write(end.record, endedBy: 0x0a, to: .end)
    return end.code
  }

  /// Makes a hole of what runs before this one have written, as far as it is more than the history: a run that writes little
  /// forgets nothing itself.
  private static func forgetOldOutput(_ history: Int64) {
    let size = Int64(linux_size(WorkerFile.console.rawValue))
    if size > history { _ = linux_punch(WorkerFile.console.rawValue, size - history) }
  }

  /// Runs the context to its end, and leaves a record of that while there is a context: without one the process has so little
  /// memory in use that the allocator maps and unmaps a page for each value of the record.
  private static func finish(_ context: ExecCtx) -> Int32 {
    var end: RunEnd
    do throws(ExecError) {
      switch try context.run() {
      case .exited(let status):
        return leave(RunEnd(code: Int32(status), status: status, reason: "exited with status \(status)"))
      case .stopped: end = RunEnd(code: RunEnd.stoppedCode, reason: "stopped")
      case .shutdown: return leave(RunEnd(code: 0, status: 0, reason: "turned itself off"))
      case .reset: return leave(RunEnd(code: RunEnd.resetCode, reason: "asked to be started anew"))
      }
    } catch {
      end = RunEnd(code: code(of: error), reason: error.description)
    }
    end.symbol = context.name(of: context.pc)
    end.registers = RegisterValue.listOfAll(of: context)
    return leave(end)
  }

  /// Exit statuses as `swiftlet run` has them.
  private static func code(of error: ExecError) -> Int32 {
    switch error {
    case .limit: 124
    case .stopped: RunEnd.stoppedCode
    case .lockstep: 120
    case .kvm, .output, .input, .host: RunEnd.hostCode
    default: RunEnd.brokeRuleCode
    }
  }

  /// - Parameter began: when the run has begun, which its deadline counts from.
  static func setLimits(_ limits: AppletLimits, of context: ExecCtx, since began: Int64) {
    func nanoseconds(_ milliseconds: Int64) -> Int64 { milliseconds * 1_000_000 }
    if let deadline = limits.deadline { context.deadline = began.addingSaturating(nanoseconds(deadline)) }
    if let budget = limits.cpuBudget { context.cpuBudget = nanoseconds(budget) }
    if let budget = limits.callBudget { context.callBudget = nanoseconds(budget) }
  }

  private static func host(_ reason: String) -> Failure { Failure(end: RunEnd(code: RunEnd.hostCode, reason: reason)) }

  private static func readConfiguration(_ kernel: any Kernel) throws(Failure) -> WorkerConfiguration {
    let contents: FileContents
    do {
      contents = try FileContents(
        OwnedFD(adopting: WorkerFile.configuration.rawValue, kernel: kernel), limit: MessageBuffer.limit * 2)
    } catch { throw host("the worker's configuration cannot be read: \(error.description)") }
    guard let value = JSONValue(parsing: contents.bytes), let configuration = WorkerConfiguration(value) else {
      throw host("the worker's configuration is none")
    }
    return configuration
  }

  /// Tells the daemon how the start went, if it is still there.
  private static func report(_ message: JSONValue) {
    write(message, endedBy: 0, to: .report)
    _ = linux_close(WorkerFile.report.rawValue)
  }

  private static func write(_ value: JSONValue, endedBy last: UInt8, to file: WorkerFile) {
    var bytes = value.encoded ?? []
    // Not `+ [last]`: the compiler (6.3, Embedded) has been seen to exchange such constants with each other.
    bytes.append(last)
    var rest = bytes[...]
    while !rest.isEmpty {
      let result = rest.withUnsafeBytes { linux_write(file.rawValue, $0.baseAddress, $0.count) }
      if result == -Int(EINTR) { continue }
      guard result > 0 else { return }
      rest = rest.dropFirst(result)
    }
  }
}

import CFaults
import CLinux
import KVM
import Machine
import Platform
import TestSupport

/// The resources of a path: its descriptors, and when calls begin to fail.
final class Stage {
  let input: Int32
  let output: Int32
  private let inputEnd: Int32
  private let outputEnd: Int32
  private let onBegin: () -> Void
  private let onPause: () -> Void

  /// The fault in a worker, for paths that have it there.
  let workerFault: String

  init(workerFault: String, onBegin: @escaping () -> Void, onPause: @escaping () -> Void) {
    self.workerFault = workerFault
    var pair: [Int32] = [-1, -1]

    precondition(pipe(&pair) == 0)
    (input, inputEnd) = (pair[0], pair[1])
    precondition(pipe(&pair) == 0)
    (outputEnd, output) = (pair[0], pair[1])
    self.onBegin = onBegin
    self.onPause = onPause
    for variant in Variant.all { _ = (image(variant), kernel(variant)) }
    _ = disk
  }

  deinit { for descriptor in [input, inputEnd, output, outputEnd] { _ = linux_close(descriptor) } }

  /// Calls may fail from here on.
  func begin() { onBegin() }
  /// Calls do not fail any more: the rest checks for leaks.
  func pause() { onPause() }

  func input(_ text: String) {
    let bytes = Array(text.utf8)
    _ = linux_write(inputEnd, bytes, bytes.count)
  }

  /// The output so far.
  func written() -> String {
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    var wanted = pollfd(fd: outputEnd, events: Int16(POLLIN), revents: 0)
    guard poll(&wanted, 1, 0) > 0 else { return "" }
    return String(decoding: bytes[..<max(linux_read(outputEnd, &bytes, bytes.count), 0)], as: UTF8.self)
  }

  /// The path of an applet's file.
  func image(_ variant: Variant) -> String {
    Self.file("\(variant.architecture.name).elf") { ELFBuilder.applet(variant.architecture).bytes() }
  }

  /// The path of a Linux kernel: its header (Documentation/arch/arm64/booting.rst, riscv/boot-image-header.rst).
  func kernel(_ variant: Variant) -> String {
    Self.file("\(variant.architecture.name).linux") {
      var bytes = [UInt8](repeating: 0, count: 4096)
      bytes[17] = 0x10  // 4 KiB
      bytes.replaceSubrange(56..<60, with: variant.architecture == .arm64 ? Array("ARMd".utf8) : Array("RSC\u{5}".utf8))
      return bytes
    }
  }

  /// The path of a disk image.
  var disk: String { Self.file("disk") { [UInt8](repeating: 0x5a, count: 4096) } }

  /// Paths for a socket, a directory and a worker's list of calls.
  var socket: String { Self.path("socket") }
  var directory: String { Self.path("applets") }
  var list: String { Self.path("calls") }

  private static func path(_ name: String) -> String { "/tmp/swiftlet-faults-\(getpid())-\(name)" }

  private static func file(_ name: String, _ content: () -> [UInt8]) -> String {
    let path = path(name)
    if access(path, F_OK) != 0 {
      let bytes = content()
      let file = linux_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
      precondition(linux_write(Int32(file), bytes, bytes.count) == bytes.count)
      _ = linux_close(Int32(file))
    }
    return path
  }

  /// Removes the files.
  static func removeFiles() {
    for variant in Variant.all {
      for kind in ["elf", "linux"] { unlink(path("\(variant.architecture.name).\(kind)")) }
    }
    for name in ["disk", "socket", "calls"] { unlink(path(name)) }
  }
}

/// Makes one call after the other fail.
final class Plan {
  struct Count {
    var calls = 0
    var cases = 0
    var errors = 0
    var successes = 0

    static func += (sum: inout Count, other: Count) {
      sum.calls += other.calls
      sum.cases += other.cases
      sum.errors += other.errors
      sum.successes += other.successes
    }
  }

  private let every: Int
  private var turn: Int
  private(set) var total = Count()
  private(set) var standardError = 0

  /// - Parameter every: of this number of cases, one is run.
  init(every: Int, offset: Int) {
    self.every = every
    turn = offset
  }

  deinit { Stage.removeFiles() }

  func run(_ path: Path, _ variant: Variant) -> Count {
    var count = Count()
    var seen: [FaultPlan.Call] = []
    let model = attempt(path, variant, .none) { seen.append($0) }
    guard case .success(let outcome) = model.result else {
      complain(path, variant, "it fails by itself: \(model.result)")
      return count
    }
    var hostCalls = (0..<model.hostCalls).map { faults_call($0) }
    if path.isInWorker { (seen, hostCalls) = WorkerProcess.calls(in: model.list) }
    count.calls = seen.count + hostCalls.count
    for (index, call) in seen.enumerated() {
      let number = seen[..<index].count { $0 == call }
      // Contexts are made in a worker as elsewhere: there only the report of a failure matters.
      for errno in path.isInWorker ? [EIO, EINTR] : Errnos.of(call) where isTurn() {
        let fault = Fault.kvm(call, number: number, errno: errno)
        check(path, variant, fault, "\(Self.name(call)), number \(number),", outcome, model.output, &count)
      }
    }
    for (index, call) in hostCalls.enumerated() {
      let number = hostCalls[..<index].count { $0 == call }
      for errno in Errnos.of(call) where isTurn() {
        let name = "\(String(cString: faults_name(call))), number \(number),"
        check(
          path, variant, .host(call, number: number, errno: errno), name, outcome, model.output, &count)
      }
    }
    total += count
    return count
  }

  private func isTurn() -> Bool {
    turn += 1
    return turn % every == 0
  }

  private func check(
    _ path: Path, _ variant: Variant, _ fault: Fault, _ call: String, _ outcome: String, _ output: String,
    _ count: inout Count
  ) {
    count.cases += 1
    let attempt = attempt(path, variant, fault) { _ in }
    let what = "\(call) fails with \(Errno(fault.errno).description)"
    switch attempt.result {
    case .success(let found):
      count.successes += 1
      if found != outcome { complain(path, variant, "\(what): \(found) instead of \(outcome)") }
      if attempt.output != output { complain(path, variant, "\(what): its output is \(attempt.output)") }
    case .failure(let error):
      count.errors += 1
      if error.text.contains("\n") { complain(path, variant, "\(what): not one line") }
      if case .broken(let text) = error { return complain(path, variant, "\(what): \(text)") }
      // A client with which the daemon cannot communicate is disconnected; the daemon cannot report what a worker does
      // not.
      switch error {
      case .left, .control: return
      default: break
      }
      // A kernel without SMCCC filter: a context with the HVC transport cannot be cloned there.
      let isFilter = error.errno == .noSuchDevice && [EINVAL, ENODEV, ENOTTY].contains(fault.errno)
      // In system mode they mean an access that KVM does not emulate.
      let isGuests = error.isGuests && [ENOSYS, EOPNOTSUPP, EIO].contains(fault.errno)
      if error.errno?.code != fault.errno, !isFilter, !isGuests { complain(path, variant, "\(what): \(error.text)") }
      // An interrupted call is repeated.
      if fault.errno == EINTR { complain(path, variant, "\(what): it is not made again: \(error.text)") }
    }
  }

  private func attempt(_ path: Path, _ variant: Variant, _ fault: Fault, onCall: @escaping (FaultPlan.Call) -> Void)
    -> (result: Result<String, PathError>, output: String, hostCalls: Int, list: String)
  {
    let kernel = ScriptedKernel(variant.architecture)
    let before = Resources.now
    var result: Result<String, PathError>
    var output = ""
    var hostCalls = 0
    var list = ""
    var isOn = false
    do {
      let stage = Stage(
        workerFault: path.isInWorker ? fault.text : "none",
        onBegin: {
          isOn = true
          switch path.isInWorker ? .none : fault {
          case .none:
            kernel.plan = FaultPlan(call: .max, errno: 0) {
              if isOn { onCall($0) }; return false
            }
            faults_begin(HOST_CALLS, -1, 0)
          case .kvm(let call, let number, let errno):
            kernel.plan = FaultPlan(call: number, errno: errno) { $0 == call }
          case .host(let call, let number, let errno): faults_begin(call, number, errno)
          }
        },
        onPause: {
          isOn = false
          kernel.plan = nil
          hostCalls = faults_end()
        })
      do throws(PathError) { result = .success(try path.body(kernel, variant, stage)) } catch {
        result = .failure(error)
      }
      if isOn { stage.pause() }
      output = stage.written()
      list = stage.list
    }
    if has_children() { complain(path, variant, "\(fault): a process is left") }
    if kernel.leaks != (0, 0) { complain(path, variant, "\(fault): left \(kernel.leaks)") }
    for violation in kernel.violations { complain(path, variant, "\(fault): \(violation)") }
    // A thread that has been joined disappears from /proc a moment later.
    let end = Clock.monotonic + 2_000_000_000
    while Resources.now != before, Clock.monotonic < end { sched_yield() }
    if Resources.now != before { complain(path, variant, "\(fault): before \(before), after \(Resources.now)") }
    return (result, output, hostCalls, list)
  }

  /// Counts calls made elsewhere.
  func add(_ count: Count) { total += count }

  func complain(_ text: String) {
    standardError += 1
    print("WRONG: \(text)")
  }

  private func complain(_ path: Path, _ variant: Variant, _ text: String) {
    standardError += 1
    print("WRONG: \(path.name) (\(variant.name)): \(text)")
  }

  private static func name(_ call: FaultPlan.Call) -> String {
    switch call {
    case .open: "open"
    case .map: "mmap"
    case .ioctl(let request): "ioctl 0x\(String(request, radix: 16))"
    }
  }
}

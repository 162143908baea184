import Applet
import CLinux
import DeviceTree
import KVM
import Machine
import Monitor
import Platform
import Supervisor

let runOptions = appletOptions + treeOptions + linuxOptions

private let appletOptions = [
  Option("memory", short: "m", argument: "SIZE", help: "memory for image, heap and stack (default 16M)"),
  Option("timeout", short: "t", argument: "DURATION", help: "stop the applet after so long (default: never)"),
  Option("cpu-budget", argument: "DURATION", help: "stop the applet after so much processor time (default: never)"),
  Option("call-budget", argument: "DURATION", help: "stop it after so much processor time between two calls"),
  Option("lockstep", help: "run a copy beside it, and stop where the two differ at a call"),
  Option("shadows", argument: "N", help: "run N copies; from 2 on a faulty one is repaired from the majority"),
  Option("parallel", help: "run the copies at the same time, each on a thread of its own"),
  Option("inject-faults", argument: "PERCENT", help: "flip a bit in a copy after that many of a hundred calls"),
  Option("non-secure", help: "run a bare-metal program in system mode (EL1, VS mode) in place of an applet"),
  Option("with-secure", argument: "FILE", help: "--non-secure, Linux: an applet beside it, which it can call"),
  Option("cpus", argument: "N", help: "--non-secure, Linux: how many processors (default 1)"),
  Option(
    "transport", argument: "hvc|mmio", help: "arm64: how calls leave the guest (default: hvc where the kernel can)"),
  Option("no-sandbox", help: "keep the rights that running the guest does not need (docs/sandbox.md)"),
  Option("verbose", short: "v", help: "say on standard error what is done"),
]

/// What the words of `swiftlet run` ask for.
struct RunRequest {
  var path = ""
  var memory = SecureLayout.defaultMemory
  var timeout: Int64?
  var cpuBudget: Int64?
  var callBudget: Int64?
  var shadows = 0
  var isParallel = false
  var faultPercent = 0
  var isSandboxed = true
  var isVerbose = false
  var isSecure = true
  /// Path of the applet beside a program in system mode.
  var trusted: String?
  var tree = TreeRequest()
  var options = ExecCtx.Options()

  init(_ words: ParsedWords) throws(Failure) {
    for (index, value) in words.options {
      switch runOptions[index].long.description {
      case "memory":
        guard let size = parseSize(value) else {
          throw .usage(
            .run, "--memory '\(value)' is no size: give a number of bytes, or one with K, M or G, such as 16M")
        }
        guard size >= SecureLayout.leastMemory, size <= SecureLayout.mostMemory else {
          throw .usage(.run, "--memory '\(value)' is out of range: give 128K to 64G")
        }
        memory = size
      case "timeout": timeout = try Self.duration("--timeout", value)
      case "cpu-budget": cpuBudget = try Self.duration("--cpu-budget", value)
      case "call-budget": callBudget = try Self.duration("--call-budget", value)
      case "lockstep": shadows = max(shadows, 1)
      case "shadows":
        guard let count = parseSize(value), (1...8).contains(count) else {
          throw .usage(.run, "--shadows '\(value)' is out of range: give 1 to 8")
        }
        shadows = Int(count)
      case "parallel": isParallel = true
      case "inject-faults":
        guard let percent = parseSize(value), (0...100).contains(percent) else {
          throw .usage(.run, "--inject-faults '\(value)' is no percentage: give 0 to 100")
        }
        faultPercent = Int(percent)
      case "non-secure": isSecure = false
      case "with-secure": trusted = value
      case "cpus":
        guard let count = parseSize(value), (1...512).contains(count) else {
          throw .usage(.run, "--cpus '\(value)' is out of range: give 1 to 512")
        }
        options.processors = Int(count)
      case "no-sandbox": isSandboxed = false
      case "transport":
        switch value {
        case "hvc": options.transport = .hvc
        case "mmio": options.transport = .mmio
        default: throw .usage(.run, "--transport '\(value)' does not exist: give hvc or mmio")
        }
      case "verbose": isVerbose = true
      case let name:
        if tree.take(name, value) { continue }
        throw .usage(.run, "--\(name) needs --linux")
      }
    }
    if faultPercent > 0, shadows == 0 { throw .usage(.run, "--inject-faults needs --lockstep or --shadows") }
    if isParallel, shadows == 0 { throw .usage(.run, "--parallel needs --lockstep or --shadows") }
    if isSecure, options.processors > 1 { throw .usage(.run, "--cpus needs --non-secure: an applet has one processor") }
    if !isSecure, shadows > 0 { throw .usage(.run, "--lockstep and --shadows are for applets, not for --non-secure") }
    if !isSecure, options.transport == .mmio {
      throw .usage(.run, "--transport mmio is for applets: programs in system mode call by HVC alone")
    }
    guard let path = words.operands.first else { throw .usage(.run, "the applet's file is missing") }
    self.path = path
    options.arguments = words.operands
    if !isSecure, words.operands.count >= 3, words.operands[1] == "--with-secure" {
      // It may follow the program's name too: it is about the one as much as the other.
      trusted = words.operands[2]
      options.arguments.removeSubrange(1...2)
    }
    if isSecure, trusted != nil {
      throw .usage(.run, "--with-secure needs --non-secure: it is a program in system mode that calls the applet")
    }
  }

  /// Whether the process has more than one thread or context.
  var isSeveral: Bool { shadows > 0 || options.processors > 1 }

  static func duration(_ option: StaticString, _ value: String) throws(Failure) -> Int64 {
    guard let duration = parseDuration(value), duration > 0 else {
      throw .usage(
        .run,
        "\(option) '\(value)' is no duration: give a number of seconds, or one with ms, s, m or h, such as 500ms")
    }
    return duration
  }
}

extension RunRequest {
  /// Loads the program and makes the context that is asked for.
  func makeContext(_ kernel: any Kernel) throws(Failure) -> ExecCtx {
    guard let architecture = Architecture.host else {
      throw .failed(
        .host, "this host is neither ARM64 nor RISC-V: applets run there, or on an emulated board (make run)")
    }
    if architecture == .riscv64, options.transport != nil {
      throw .usage(.run, "--transport is for arm64: on riscv64 calls always travel by SBI")
    }
    let system: System
    do { system = try System(kernel: kernel) } catch { throw .failed(.host, error.description) }
    var options = options
    options.deviceTree = try tree.read(kernel)
    options.sharesMemory = trusted != nil
    let context = try load(
      path, secure: isSecure, memory: memory, options, system, architecture, kernel)
    guard let trusted else { return context }
    var others = ExecCtx.Options()
    others.arguments = [trusted]
    others.sharesMemory = true
    let applet = try load(
      trusted, secure: true, memory: SecureLayout.defaultMemory, others, system, architecture, kernel)
    applet.server = makeServices()
    do { try context.connect(applet) { reportEnd(of: $0, trusted, $1) } } catch {
      throw .failed(.image, "\(trusted): \(error.description)")
    }
    return context
  }

  private func load(
    _ path: String, secure: Bool, memory: UInt64, _ options: ExecCtx.Options, _ system: borrowing System,
    _ architecture: Architecture, _ kernel: any Kernel
  ) throws(Failure) -> ExecCtx {
    let image: AppletImage
    do { image = try AppletImage(path: path, architecture: architecture, kernel: kernel) } catch {
      throw .failed(error.isUnreadable ? .unreadable : .image, "\(path): \(error.description)")
    }
    if isVerbose { describe(image, path) }
    do {
      return try ExecCtx(
        image: image, secure: secure, memorySize: memory, system: system, architecture: architecture, options: options)
    } catch {
      switch error {
      case .image(let error): throw .failed(.image, "\(path): \(error.description)")
      case .kvm(.failed(.setDeviceAttribute, _)) where options.transport == .hvc:
        throw .failed(
          .host, "--transport hvc: this kernel has no SMCCC filter (Linux 6.4 and later have): use --transport mmio")
      case .deviceTree(let error): throw tree.failure(error, path)
      case .kvm(let error): throw .failed(.host, error.description)
      }
    }
  }
}

/// Says how the applet beside a program in system mode ended, unless all is well.
private func reportEnd(of applet: ExecCtx, _ path: String, _ result: Result<UInt8, ExecError>) {
  switch result {
  case .success(0): break
  case .success(let status): complain("swiftlet: \(path): exited with status \(status)")
  case .failure(let error):
    if case .failed(_, let message) = failure(error, of: applet, path) { complain("swiftlet: \(message)") }
  }
}

extension ParsedWords {
  /// Whether these words of `swiftlet run` are about a Linux guest.
  var isAboutLinux: Bool { options.contains { runOptions[$0.index].long.description == "linux" } }
}

/// `swiftlet run`.
func run(_ words: ParsedWords) throws(Failure) -> Int32 {
  if words.isAboutLinux { return try runLinux(words) }
  let request = try RunRequest(words)
  let start = Clock.monotonic
  if request.isSandboxed { try closeInherited() }
  let context = try request.makeContext(LinuxKernel())
  if !context.isSecure && !context.canCall {
    complain(
      "swiftlet: this kernel keeps the calls of a program in system mode to itself (Linux before 6.4): none comes here")
  }
  if request.isVerbose { describe(context, start) }
  if let timeout = request.timeout { context.deadline = Clock.monotonic.addingSaturating(timeout) }
  context.server = makeServices()
  context.cpuBudget = request.cpuBudget
  context.callBudget = request.callBudget
  if request.shadows > 0 { try addShadows(context, request) }
  // The filter leaves nothing else to limit that the daemon's workers are limited in (docs/sandbox.md).
  if request.isSandboxed { linux_limit_descriptors(64 + 2 * UInt32(request.options.processors)) }
  try enterSandbox(request.isSandboxed, context.architecture, for: .guest(several: request.isSeveral))
  let outcome: Outcome
  do { outcome = try context.run() } catch { throw failure(error, of: context, request.path) }
  switch outcome {
  case .exited(let status):
    if request.isVerbose { complain("swiftlet: exited with status \(status) after \(microseconds(since: start)) us") }
    reportRepairs(context)
    // The kernel ends a process with its machine in half the time that it takes to end the machine first.
    withExtendedLifetime(context) { exit(Int32(status)) }
  case .stopped: throw .failed(.stopped, "\(request.path): stopped")
  case .shutdown:
    if request.isVerbose { complain("swiftlet: turned its machine off after \(microseconds(since: start)) us") }
    return Status.success.rawValue
  case .reset: throw .failed(.reset, "\(request.path): asked for its machine to start anew")
  }
}

/// Closes the descriptors that a process which will enter the sandbox was started with.
func closeInherited() throws(Failure) {
  do { try Sandbox.closeInherited() } catch { throw .failed(.host, error.description) }
}

/// Enters the sandbox, or says that it was not wanted.
func enterSandbox(_ isWanted: Bool, _ architecture: Architecture, for content: Sandbox.Content) throws(Failure) {
  guard isWanted else {
    return complain("swiftlet: --no-sandbox: this process keeps all its rights while the guest runs")
  }
  do { try Sandbox.enter(architecture, for: content) } catch { throw .failed(.host, error.description) }
}

/// Makes the copies for `--lockstep`, `--shadows` and `--inject-faults`.
private func addShadows(_ context: ExecCtx, _ request: RunRequest) throws(Failure) {
  var shadows: [ExecCtx] = []
  do {
    let system = try System(kernel: LinuxKernel())
    for _ in 0..<request.shadows { shadows.append(try context.clone(on: system)) }
    try context.setShadows(shadows, parallel: request.isParallel)
  } catch { throw .failed(.host, error.description) }
  guard request.faultPercent > 0 else { return }
  var injection = FaultInjection(percent: request.faultPercent, seed: UInt64(bitPattern: Clock.monotonic))
  injection.report = { copy, register, bit in
    complain("swiftlet: injected: bit \(bit) of \(register) in \(copyName(copy))")
  }
  context.faultInjection = injection
}

private func copyName(_ copy: Int) -> String { copy == 0 ? "the primary" : "shadow \(copy)" }

/// Says which copies were repaired.
private func reportRepairs(_ context: ExecCtx) {
  for (copy, repairs) in context.lockstepReport.repairs.enumerated() where repairs > 0 {
    complain("swiftlet: lockstep: \(copyName(copy)) was repaired \(repairs) time\(repairs == 1 ? "" : "s")")
  }
}

private func failure(_ error: ExecError, of context: ExecCtx, _ path: String) -> Failure {
  let place = context.name(of: context.pc).map { ", in \($0)" } ?? ""
  let what = "\(path): \(error.description)"
  switch error {
  case .limit:
    return .failed(.timeLimit, "\(what), and was stopped at pc \(hex(context.pc))\(place)")
  case .stopped: return .failed(.stopped, what)
  case .lockstep:
    reportRepairs(context)
    return .failed(.lockstep, what)
  case .fault, .unknownCall, .badRange, .transferLimit, .badRequest, .unexpectedExit, .shim:
    return .failed(.brokeRule, what + place + "\n" + context.description.dropLast())
  case .kvm, .output, .input, .host: return .failed(.host, what)
  }
}

private func describe(_ image: borrowing AppletImage, _ path: String) {
  complain("swiftlet: \(path): entry \(hex(image.entry))")
  for segment in image.segments {
    let access = segment.access
    let letters = "r\(access.contains(.write) ? "w" : "-")\(access.contains(.execute) ? "x" : "-")"
    complain("swiftlet:   segment \(hex(segment.address)) \(segment.size) bytes \(letters)")
  }
}

private func describe(_ context: ExecCtx, _ start: Int64) {
  let memory = context.memory.slot
  let transport: StaticString =
    switch context.transport {
    case .hvc: "hvc"
    case .mmio: "mmio doorbell"
    case .sbi: "sbi"
    }
  complain(
    "swiftlet: memory \(hex(memory.lowerBound)) to \(hex(memory.upperBound)), calls by \(transport)")
  complain("swiftlet: ready after \(microseconds(since: start)) us")
}

private func microseconds(since start: Int64) -> Int64 { (Clock.monotonic - start) / 1000 }

import Applet
import CLinux
import Control
import JSON
import KVM
import Launch
import Machine
import Monitor
import Platform
import Supervisor

/// Arguments of `swiftlet run` and `swiftlet dtb`.
struct RunArguments: CommandArguments, DescribesGuest, HasServices {
  var guest = GuestArguments()
  /// The file of the applet, the program or the kernel.
  private(set) var path = ""
  /// The guest's description.
  private(set) var spec = GuestSpec()
  /// RPC services of other programs.
  var services: [ServiceAddress] = []
  var isSandboxed = true
  var needsWholeSandbox = false
  var isVerbose = false
  /// The descriptor to which the end of the run is written as JSON; nil for none.
  private(set) var endDescriptor: Int32?
  /// `dtb`: the file for the tree; nil for standard output.
  var output: String?

  mutating func take(operands: [String]) throws(ArgumentError) {
    if let kernel = guest.request.kernel {
      path = kernel
      if let value = operands.first { throw ArgumentError("'\(value)': use --append for arguments of Linux") }
    } else {
      path = operands.first ?? ""
      guest.request.arguments = Array(operands.dropFirst())
    }
    if !guest.request.isSecure, operands.count >= 3, operands[1] == "--with-secure" {
      // It may also follow the program's name, since it concerns both.
      guest.request.peer = operands[2]
      guest.request.arguments.removeSubrange(0...1)
    }
    spec = try guest.spec()
    if guest.request.kernel != nil, guest.request.peer == nil, !services.isEmpty {
      throw ArgumentError("--rpc needs an applet: for --linux, give --with-secure")
    }
    if needsWholeSandbox, !isSandboxed { throw ArgumentError("--require-sandbox and --no-sandbox exclude each other") }
    if guest.request.kernel == nil, operands.isEmpty { throw ArgumentError("the applet's file is missing") }
  }

  static var options: [Option<RunArguments>] { guestOptions(and: ownOptions) }

  private static var ownOptions: [Option<RunArguments>] {
    [
      Option("inject-faults", argument: "PERCENT", help: "flip a bit in a copy after this percentage of calls") {
        arguments, value in
        arguments.guest.request.faultPercent = arguments.guest.number(.faults, value)
      },
      Option("with-secure", argument: "FILE", help: "--non-secure, Linux: a secure peer, which it can call") {
        arguments, value in
        arguments.guest.request.peer = value
      },
      cpusOption(help: "--non-secure, Linux: number of CPUs (default 1)"),
      serviceOption(),
      Option(
        "transport", argument: "hvc|mmio", help: "arm64: how calls leave the guest (default: hvc if supported)"
      ) { arguments, value throws(ArgumentError) in
        switch value {
        case "hvc": arguments.guest.request.transport = .hvc
        case "mmio": arguments.guest.request.transport = .mmio
        default: throw ArgumentError("--transport '\(value)' is invalid: give hvc or mmio")
        }
      },
      Option("no-sandbox", help: "run without the sandbox (docs/sandbox.md)") {
        arguments, _ in
        arguments.isSandboxed = false
      },
      Option("require-sandbox", help: "fail if the kernel lacks a part of the sandbox (Landlock)") {
        arguments, _ in
        arguments.needsWholeSandbox = true
      },
      Option(
        "json-end", argument: "FD", help: "write how the run ended to this descriptor, as a line of JSON"
      ) { arguments, value throws(ArgumentError) in
        guard let number = parseSize(value).flatMap({ Int32(exactly: $0) }) else {
          throw ArgumentError(
            "--json-end '\(value)' is not a descriptor: give its number, as in --json-end 3 3>end.json")
        }
        arguments.endDescriptor = number
      },
      Option("verbose", short: "v", help: "print progress on standard error") { arguments, _ in
        arguments.isVerbose = true
      },
      Option("overlay", argument: "FILE", help: "an overlay for the guest's device tree (.dtbo); may be repeated") {
        arguments, value in
        arguments.guest.request.tree.overlays.append(value)
      },
      Option("dtb", argument: "FILE", help: "a device tree that replaces the generated one") { arguments, value in
        arguments.guest.request.tree.replacement = value
      },
      Option("linux", argument: "IMAGE", help: "run Linux: a kernel for this host's architecture") { arguments, value in
        arguments.guest.request.kernel = value
      },
      Option("initrd", argument: "FILE", help: "Linux: its initrd (initial RAM disk)") { arguments, value in
        arguments.guest.request.initrd = value
      },
      Option("append", argument: "TEXT", help: "Linux: text for its command line; may be repeated") {
        arguments, value in
        arguments.guest.request.kernelArguments.append(value)
      },
      Option(
        "disk", argument: "FILE[,ro]",
        help: "Linux: a disk image or block device, /dev/vda and so on; may be repeated"
      ) { arguments, value in
        let isReadOnly = value.hasSuffix(",ro")
        arguments.guest.request.disks.append(
          LinuxOptions.Disk(path: isReadOnly ? String(value.dropLast(3)) : value, isReadOnly: isReadOnly))
      },
      Option(
        "port", argument: "NAME=SOCKET",
        help: "Linux: a port connected to a Unix socket; may be repeated"
      ) { arguments, value throws(ArgumentError) in
        let parts = value.split(separator: "=", maxSplits: 1)
        guard parts.count == 2 else {
          throw ArgumentError("--port '\(value)' has no socket: give NAME=SOCKET, such as applet=/tmp/applet.sock")
        }
        arguments.guest.request.ports.append(
          LinuxOptions.Port(name: String(parts[0]), end: .socket(path: String(parts[1]))))
      },
    ]
  }
}

extension RunArguments {
  /// Loads the program and its peer, and creates the context.
  /// - Parameter peer: path of the peer.
  func makeContext(_ kernel: any Kernel, peer: String?) throws(Failure) -> ExecCtx {
    do throws(LaunchError) {
      let architecture = try GuestSpec.hostArchitecture()
      let system = try GuestSpec.openSystem(kernel)
      let context = try makeContext(spec, path, system, architecture)
      guard let peer else { return context }
      let applet = try makeContext(spec.peer(console: nil), peer, system, architecture)
      applet.offerServices(of: self)
      do { try context.attach(applet) { reportEnd(of: $0, peer, $1) } } catch { throw .peer(peer, error) }
      return context
    } catch { throw Failure(error) }
  }

  private func makeContext(
    _ spec: GuestSpec, _ path: String, _ system: borrowing System, _ architecture: Architecture
  ) throws(LaunchError) -> ExecCtx {
    let image = try GuestSpec.loadImage(path, architecture, system.kernel)
    if isVerbose { describe(image, path) }
    return try spec.makeContext(image, name: path, system: system, architecture: architecture)
  }
}

/// Reports the end of a program's peer, unless it exited with status 0.
private func reportEnd(of applet: ExecCtx, _ path: String, _ result: Result<UInt8, ExecError>) {
  switch result {
  case .success(0): break
  case .success(let status): complain("swiftlet: \(path): \(RunEnd(exited: status).reason)")
  case .failure(let error): complain("swiftlet: \(message(error, of: applet, path))")
  }
}

/// `swiftlet run`.
func run(_ arguments: RunArguments) throws(Failure) -> Int32 {
  // A disk or an output at its size limit is an error like any other.
  linux_ignore_file_limit()
  let report = EndReport(descriptor: try closeInherited(arguments))
  // The exit status does not depend on the report's reader. The sandbox does not allow this later.
  if report.descriptor != nil { linux_ignore_broken_pipes() }
  do throws(Failure) {
    let end =
      switch arguments.spec.mode {
      case .applet: try runContext(arguments, report, peer: nil)
      case .program(_, let peer): try runContext(arguments, report, peer: peer)
      case .linux(let options, let peer): try runLinux(arguments, options, peer: peer)
      }
    report.write(end)
    return end.code
  } catch {
    if case .failed(let code, let message) = error { report.write(code, message, arguments.path) }
    throw error
  }
}

/// Closes inherited descriptors before the process enters the sandbox.
/// - Returns: that of `--json-end`; nil for none.
private func closeInherited(_ arguments: RunArguments) throws(Failure) -> Int32? {
  guard arguments.isSandboxed else { return arguments.endDescriptor }
  do { return try Sandbox.closeInherited(except: arguments.endDescriptor) } catch {
    if let descriptor = arguments.endDescriptor, error.errno == Errno(EBADF) {
      throw .usage(.run, "--json-end \(descriptor): no such descriptor is open")
    }
    throw .failed(.host, error.description)
  }
}

/// `--json-end`: how the run ended, as the control interface's type End.
private struct EndReport {
  /// nil for no report.
  let descriptor: Int32?

  func write(_ end: RunEnd) {
    guard let descriptor else { return }
    var line = end.json.encoded ?? []
    line.append(UInt8(ascii: "\n"))
    try? writeAll(line, to: descriptor)
  }

  /// Without the file's name, which precedes an error, and the registers in the lines after it.
  func write(_ code: ExitCode, _ message: String, _ path: String) {
    guard descriptor != nil else { return }
    let line = message.split(separator: "\n", maxSplits: 1).first.map { String($0) } ?? ""
    let reason =
      line.hasPrefix(path + ": ") ? String(decoding: line.utf8.dropFirst(path.utf8.count + 2), as: UTF8.self) : line
    write(RunEnd(code, reason: reason))
  }
}

private func runContext(_ arguments: RunArguments, _ report: EndReport, peer: String?) throws(Failure) -> RunEnd {
  let start = arguments.isVerbose ? Clock.monotonic : 0
  let context = try arguments.makeContext(LinuxKernel(), peer: peer)
  if !context.isSecure && !context.canCall {
    complain(
      "swiftlet: this kernel does not forward the calls of a program in system mode (added in Linux 6.4)")
  }
  if arguments.isVerbose { describe(context, start) }
  context.offerServices(of: arguments)
  if arguments.spec.limits != GuestLimits() { arguments.spec.limits.apply(to: context, since: Clock.monotonic) }
  injectFaults(arguments.spec.copies?.faultPercent ?? 0, context)
  // Other limits of the daemon's workers are enforced by the seccomp filter here (docs/sandbox.md).
  if arguments.isSandboxed { linux_limit_descriptors(arguments.spec.descriptorLimit) }
  let isSeveral = arguments.spec.isSeveral
  // A worker communicates with services in the same way.
  try enterSandbox(
    arguments, context.architecture,
    for: arguments.services.isEmpty ? .guest(several: isSeveral) : .worker(several: isSeveral))
  let outcome: Outcome
  do { outcome = try context.run() } catch {
    if case .lockstep = error { reportRepairs(context) }
    throw .failed(error.exitCode, message(error, of: context, arguments.path))
  }
  switch outcome {
  case .exited(let status):
    if arguments.isVerbose { complain("swiftlet: exited with status \(status) after \(microseconds(since: start)) us") }
    reportRepairs(context)
    if ExitCode.isAmbiguous(status) { complain("swiftlet: \(arguments.path): \(RunEnd(exited: status).reason)") }
    if report.descriptor != nil { report.write(RunEnd(exited: status)) }
    // If the process exits with the VM open, the kernel destroys it in half the time.
    withExtendedLifetime(context) { exit(Int32(status)) }
  case .shutdown:
    if arguments.isVerbose { complain("swiftlet: powered off after \(microseconds(since: start)) us") }
  case .stopped, .reset: complain("swiftlet: \(arguments.path): \(RunEnd(outcome).reason)")
  }
  return RunEnd(outcome)
}

/// Enters the sandbox, or reports that it is disabled.
func enterSandbox(_ arguments: RunArguments, _ architecture: Architecture, for content: Sandbox.Content) throws(Failure)
{
  guard arguments.isSandboxed else {
    return complain("swiftlet: --no-sandbox: the guest runs without the sandbox")
  }
  if arguments.isVerbose, !Sandbox.isWhole {
    complain("swiftlet: the sandbox is without Landlock, which this kernel lacks")
  }
  do throws(Sandbox.Failure) {
    if arguments.needsWholeSandbox { try Sandbox.requireWhole() }
    try Sandbox.enter(architecture, for: content)
  } catch { throw .failed(.host, error.description) }
}

/// `--inject-faults`.
private func injectFaults(_ percent: Int, _ context: ExecCtx) {
  guard percent > 0 else { return }
  var injection = FaultInjection(percent: percent, seed: UInt64(bitPattern: Clock.monotonic))
  injection.report = { copy, register, bit in
    complain("swiftlet: injected: bit \(bit) of \(register) in \(copyName(copy))")
  }
  context.faultInjection = injection
}

private func copyName(_ copy: Int) -> String { copy == 0 ? "the primary" : "shadow \(copy)" }

/// Reports which copies were repaired.
private func reportRepairs(_ context: ExecCtx) {
  for (copy, repairs) in context.lockstepReport.repairs.enumerated() where repairs > 0 {
    complain("swiftlet: lockstep: \(copyName(copy)) was repaired \(repairs) time\(repairs == 1 ? "" : "s")")
  }
}

/// The error that ended a context's run, with its location.
private func message(_ error: ExecError, of context: ExecCtx, _ path: String) -> String {
  let what = "\(path): \(context.description(of: error))"
  return error.exitCode == .fault ? what + "\n" + context.description.dropLast() : what
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
    case .mmio: "MMIO"
    case .sbi: "sbi"
    }
  complain(
    "swiftlet: memory \(hex(memory.lowerBound)) to \(hex(memory.upperBound)), calls by \(transport)")
  complain("swiftlet: ready after \(microseconds(since: start)) us")
}

private func microseconds(since start: Int64) -> Int64 { (Clock.monotonic - start) / 1000 }

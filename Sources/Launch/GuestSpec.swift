import CLinux
import Machine
import Monitor
import Platform

/// The settings in a command line or a control request; nil for those that were not given. They are checked when a `GuestSpec` is
/// made from them.
public struct GuestRequest: Equatable, Sendable {
  /// Whether it is an applet in user mode, not a program in system mode.
  public var isSecure = true
  /// Path of a kernel: the guest is Linux.
  public var kernel: String?
  /// Memory, in bytes.
  public var memory: UInt64?
  /// The layout of an applet's memory, or of its peer's; nil for what the image asks for.
  public var layout: SecureLayout.Kind?
  /// Whether an applet, or the peer, can read a CLINT's `mtime`, whatever its image is.
  public var hasCLINT = false
  /// Number of CPUs.
  public var cpus: UInt64?
  /// Maximum size of an RPC request and response, in bytes.
  public var rpcLimit: UInt64?
  /// Limits of the guest and of its process.
  public var limits = GuestLimits()
  /// Number of copies that run in lockstep with an applet.
  public var copies: UInt64?
  /// Whether they run in parallel.
  public var isParallel = false
  /// Percentage of calls after which a bit of a copy is flipped.
  public var faultPercent: UInt64?
  /// The transport of calls; nil for the fastest that the kernel supports.
  public var transport: ExecCtx.Transport?
  /// Path of the secure peer of a program in system mode, or of Linux.
  public var peer: String?
  /// The applet's arguments, without its name.
  public var arguments: [String] = []
  /// Files with changes to the device tree.
  public var tree = TreeFiles()
  /// Linux: path of the initrd.
  public var initrd: String?
  /// Linux: additional parameters of the kernel's command line.
  public var kernelArguments: [String] = []
  /// Linux: the disks.
  public var disks: [LinuxOptions.Disk] = []
  /// Linux: the ports.
  public var ports: [LinuxOptions.Port] = []
  /// Descriptors of its console, which stay open while the guest exists.
  public var input: Int32 = STDIN_FILENO
  /// The descriptor of its console's output.
  public var output: Int32 = STDOUT_FILENO

  /// A request without settings.
  public init() {}
}

/// The checked description of a guest, which command line, daemon, workers and benchmarks share. It is checked once, when it is
/// made from a request.
public struct GuestSpec: Equatable, Sendable {
  /// The kind of guest, with its settings.
  public let mode: Mode
  /// Memory, in bytes.
  public let memory: UInt64
  /// The layout of an applet's memory; nil for what its image asks for.
  public private(set) var layout: SecureLayout.Kind?
  /// Whether an applet can read a CLINT's `mtime`; one of an image made by Go can anyway.
  public private(set) var hasCLINT = false
  /// Limits of the guest and of its process.
  public private(set) var limits: GuestLimits
  /// The applet's arguments, without its name.
  public let arguments: [String]
  /// Maximum size of an RPC request and response, in bytes.
  public private(set) var rpcLimit = ExecCtx.defaultRPCLimit
  /// The transport of calls; nil for the best that the kernel supports.
  let transport: ExecCtx.Transport?
  /// Files with changes to the device tree.
  public let tree: TreeFiles
  /// Whether it will share memory with another context.
  var sharesMemory = false
  /// Descriptors of its console.
  var input: Int32 = STDIN_FILENO
  var output: Int32 = STDOUT_FILENO

  /// The kind of guest, with the settings that only this kind has.
  public enum Mode: Equatable, Sendable {
    /// A secure context; `copies` run in lockstep with it.
    case applet(copies: Copies?)
    /// A non-secure context; `peer` is the path of its secure peer.
    case program(cpus: Int, peer: String?)
    /// Linux; `peer` is the path of a secure peer, connected to a port.
    indirect case linux(LinuxOptions, peer: String?)
  }

  /// Copies of an applet in lockstep with it.
  public struct Copies: Equatable, Sendable {
    /// Their number, at least 1.
    public let count: Int
    /// Whether they run in parallel, each on its own thread.
    public let isParallel: Bool
    /// Percentage of calls after which a bit of a copy is flipped.
    public let faultPercent: Int
  }

  /// An applet with the defaults.
  public init() {
    mode = .applet(copies: nil)
    memory = SecureLayout.defaultMemory
    limits = GuestLimits()
    arguments = []
    transport = nil
    tree = TreeFiles()
  }

  /// Checks a request.
  /// - Throws: `SpecError` for the first invalid setting.
  public init(_ request: GuestRequest) throws(SpecError) {
    let kind: GuestKind = request.kernel != nil ? .linux : request.isSecure ? .applet : .program
    try request.checkValues(for: kind)
    try request.checkCombination(for: kind)
    switch kind {
    case .applet:
      mode = .applet(
        copies: request.copies.map {
          Copies(
            count: Int($0), isParallel: request.isParallel, faultPercent: request.faultPercent.map { Int($0) } ?? 0)
        })
    case .program: mode = .program(cpus: request.cpus.map { Int($0) } ?? 1, peer: request.peer)
    case .linux: mode = .linux(try request.linuxOptions(), peer: request.peer)
    }
    memory = request.memory ?? (kind == .linux ? LinuxLayout.defaultMemory : SecureLayout.defaultMemory)
    limits = request.limits
    arguments = request.arguments
    transport = request.transport
    tree = request.tree
    layout = request.layout
    rpcLimit = request.rpcLimit.map { Int($0) } ?? ExecCtx.defaultRPCLimit
    hasCLINT = request.hasCLINT
    (input, output) = (request.input, request.output)
    if case .program = kind { sharesMemory = request.peer != nil }
  }

  /// The secure peer of this program in system mode, or Linux: 16 MiB of memory, no arguments.
  /// - Parameter console: descriptor of its input and output; nil for standard input and output, and shared memory with a
  ///   program.
  public func peer(console: Int32?) -> GuestSpec {
    var spec = GuestSpec()
    (spec.layout, spec.rpcLimit) = (layout, rpcLimit)
    spec.hasCLINT = hasCLINT
    if let console { (spec.input, spec.output) = (console, console) } else { spec.sharesMemory = true }
    return spec
  }

  /// Whether it is an applet in user mode.
  public var isSecure: Bool { if case .applet = mode { true } else { false } }

  /// Number of CPUs.
  public var cpus: Int {
    switch mode {
    case .applet: 1
    case .program(let cpus, _): cpus
    case .linux(let options, _): options.cpus
    }
  }

  /// The copies in lockstep with it; nil for none.
  public var copies: Copies? { if case .applet(let copies) = mode { copies } else { nil } }

  /// Whether it has several contexts or CPUs, in parallel or not.
  public var isSeveral: Bool { copies != nil || cpus > 1 }

  /// Maximum number of descriptors of its process: a CPU may need one to wait.
  public var descriptorLimit: UInt32 { 64 + 2 * UInt32(cpus) }

  /// Replaces the limits that are set in the argument. They have been checked.
  public mutating func change(_ limits: GuestLimits) { self.limits = self.limits.changed(by: limits) }
}

extension GuestRequest {
  /// Checks each value.
  fileprivate func checkValues(for kind: GuestKind) throws(SpecError) {
    for (field, value) in [
      (GuestField.memory, memory), (.copies, copies), (.faults, faultPercent),
    ] {
      guard let value else { continue }
      guard field.suits(kind) else { throw Self.unsuited(field, kind) }
      guard field.range(for: kind).contains(value) else { throw .outOfRange(field, kind) }
    }
    if let rpcLimit, !GuestField.rpcLimit.range(for: kind).contains(rpcLimit) { throw .outOfRange(.rpcLimit, kind) }
    if let cpus, !GuestField.cpus.range(for: kind).contains(cpus) {
      throw kind == .applet ? .unsuited(.cpus, kind) : .outOfRange(.cpus, kind)
    }
    try limits.check()
  }

  /// Checks the combination of settings.
  fileprivate func checkCombination(for kind: GuestKind) throws(SpecError) {
    for (field, isGiven) in [
      (GuestField.nonSecure, !isSecure), (.cpuBudget, limits.cpuBudget != nil), (.callBudget, limits.callBudget != nil),
      (.parallel, isParallel), (.transport, transport != nil), (.layout, layout != nil && peer == nil),
      (.rpcLimit, rpcLimit != nil && peer == nil), (.clint, hasCLINT && peer == nil), (.peer, peer != nil),
      (.initrd, initrd != nil),
      (.kernelArguments, !kernelArguments.isEmpty), (.disks, !disks.isEmpty), (.ports, !ports.isEmpty),
    ] where isGiven && !field.suits(kind) { throw Self.unsuited(field, kind) }
    if kind == .program, transport == .mmio { throw .unsuited(.transport, kind) }
    guard copies == nil else { return }
    if isParallel { throw .needsCopies(.parallel) }
    if let faultPercent, faultPercent > 0 { throw .needsCopies(.faults) }
  }

  /// Reports all settings about copies as `copies`.
  private static func unsuited(_ field: GuestField, _ kind: GuestKind) -> SpecError {
    kind == .program && (field == .parallel || field == .faults) ? .needsCopies(field) : .unsuited(field, kind)
  }

  /// The options of the Linux guest, without the contents of files, which are read later.
  fileprivate func linuxOptions() throws(SpecError) -> LinuxOptions {
    guard disks.count <= LinuxOptions.maxDisks else { throw .tooMany(.disks, max: LinuxOptions.maxDisks) }
    guard ports.count <= LinuxOptions.maxPorts else { throw .tooMany(.ports, max: LinuxOptions.maxPorts) }
    var options = LinuxOptions(kernel: kernel ?? "")
    options.initrd = initrd
    options.arguments = kernelArguments.joined(separator: " ")
    options.cpus = cpus.map { Int($0) } ?? 1
    options.memory = memory ?? LinuxLayout.defaultMemory
    options.disks = disks
    options.ports = ports
    // arm64 and riscv64 keep 2048 and 1024 bytes of it, including a zero byte.
    guard options.commandLine.osBytes.count < 1024 else { throw .kernelArgumentsTooLong(max: 1023) }
    return options
  }
}

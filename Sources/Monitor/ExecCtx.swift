import Applet
import AppletABI
import CLinux
import DeviceTree
import KVM
import Machine
import Platform

/// An execution context: a guest in a virtual machine of its own, and the monitor's state for it.
///
/// A context is made from memory and an entry point, and run with `run()`, which answers its calls with its handler.
/// One thread at a time may use a context. Other threads may only use its `stopper`.
public final class ExecCtx {
  // The guest releases its vCPUs, its VM and its memory in that order; what refers to its CPUs must be released before
  // it.
  let kind: Kind
  var limits: Limits
  let guest: GuestMachine
  /// The part of the trap frame that has a call's number or result, followed by its arguments.
  let call: UnsafeMutablePointer<UInt64>
  /// The calls that it has made, by number.
  package internal(set) var callCounts = CallCounts()
  /// Its exit status; nil before it has exited.
  public private(set) var exitStatus: UInt8?
  /// The functions of its owner.
  var handlers = Handlers()
  /// Where its clocks begin.
  var clocks: Clocks
  /// Where its output is written.
  public let console: Console
  /// The descriptor that its calls read from. It must stay open while the context exists.
  public let input: Int32
  /// The symbols of its image; nil if it was made without one.
  var symbols: Symbols?
  /// Its RPC server, and the data on the way to and from it.
  var rpc = RPCState()
  /// See `onReadable`.
  var readable: (descriptor: Int32, body: (ExecCtx) -> Void)?

  /// The kind of guest, with the state that only this kind has.
  enum Kind {
    /// An applet in user mode: a secure context.
    case applet(AppletMode)
    /// A program in system mode: a non-secure context.
    case program(ProgramMode)
  }

  /// The functions of its owner; nil for what the monitor does by itself.
  struct Handlers {
    var call: Handler?
    var server: (() -> Server)?
    var firmware: ((ExecCtx, FirmwareCall) throws(ExecError) -> FirmwareResult?)?
    var access: AccessHandler?
    var limit: ((ExecCtx, Limit) -> Int64?)?
  }

  /// Where its clocks begin, relative to CLOCK_MONOTONIC.
  struct Clocks {
    /// What the guest's time of day is ahead, in nanoseconds (`clockOffset`).
    let timeOfDay: Int64
    /// Where a context has a CLINT, the time at which `mtime` was 0, in nanoseconds.
    var mtimeStart: Int64?
  }

  /// Answers one call of a context, whose registers and memory it may read and change.
  /// - Throws: an error that ends the context's run.
  public typealias Handler = (ExecCtx) throws(ExecError) -> Void

  /// How a guest makes calls.
  public enum Transport: Equatable, Sendable {
    /// arm64: HVC, forwarded by the kernel's SMCCC filter (Linux 6.4 or later).
    case hvc
    /// arm64: a store to an address without memory, which every kernel reports as KVM_EXIT_MMIO.
    case mmio
    /// riscv64: ECALL in SBI's experimental extension range.
    case sbi
  }

  /// Options of a context, in addition to its memory and entry point.
  public struct Options {
    /// arm64: the transport; nil for the fastest that the kernel supports.
    public var transport: Transport?
    /// Non-secure contexts: the number of CPUs.
    public var cpus = 1
    /// The applet's name and arguments.
    public var arguments: [String] = []
    /// Secure contexts: the layout of the memory; nil for what the image's notes ask for, `.compact` without one.
    public var layout: SecureLayout.Kind?
    /// Whether a peer will be attached (`attach`): the device tree then describes the memory that both share.
    public var sharesMemory = false
    /// riscv64, secure contexts: whether it can read a CLINT's `mtime` at 0x0200bff8, which counts microseconds from the context's
    /// creation on; one of an image made by Go can anyway (SiFive FU540-C000 Manual, 9 "Core-Local Interruptor").
    public var hasCLINT = false
    /// Changes of the generated device tree.
    public var deviceTree = TreeChanges()
    /// arm64, non-secure contexts: function identifiers of hypercalls that are handed to `firmwareHandler`. KVM answers others itself
    /// (KVM_ARM_VM_SMCCC_FILTER). They must not overlap each other, or the ABI's below 0x2000; the kernel refuses some ranges, and before
    /// Linux 6.4 all: the context is not made then.
    public var firmwareCalls: [ClosedRange<UInt32>] = []
    /// The descriptor that its console writes to.
    public var output: Int32 = STDOUT_FILENO
    /// The descriptor that its calls read from. It must stay open while the context exists.
    public var input: Int32 = STDIN_FILENO

    /// The defaults.
    public init() {}
  }

  init(_ guest: GuestMachine, _ kind: Kind, options: Options) {
    self.guest = guest
    self.kind = kind
    call = guest.frame + guest.architecture.callRegister
    limits = Limits(cpus: guest.cpus)
    console = Console(descriptor: options.output)
    input = options.input
    clocks = Clocks(
      timeOfDay: guest.described.hypervisor?.clockOffset ?? Clock.realtimeOffset,
      mtimeStart: options.hasCLINT && guest.architecture.facts.mtime != nil ? Clock.monotonic : nil)
  }

  /// Answers the context's calls; nil for `secureHandler` or `nonSecureHandler`.
  public var handler: Handler? {
    get { handlers.call }
    set { handlers.call = newValue }
  }
  /// Makes its RPC server when one is first asked for, so that applets without RPC need none; nil for a server without methods.
  public var makeServer: (() -> Server)? {
    get { handlers.server }
    set { handlers.server = newValue }
  }
  /// Answers calls of a program in system mode to its firmware, before the monitor does; nil, or a result of nil, for the monitor's
  /// own answers: SBI's console, and NOT_SUPPORTED for all else. GoTEE's counterpart is `sbi.Handler`. On riscv64 KVM forwards the
  /// experimental and vendor extensions, the console's, and probes of these; on arm64 `Options.firmwareCalls`. Called with the
  /// same rules as `handler`.
  public var firmwareHandler: ((ExecCtx, FirmwareCall) throws(ExecError) -> FirmwareResult?)? {
    get { handlers.firmware }
    set { handlers.firmware = newValue }
  }
  /// Secure contexts: answers loads and stores outside the context's memory; nil to refuse them all. Asked in `run`, `exec` and
  /// `schedule`, of all copies in lockstep once.
  public var accessHandler: AccessHandler? {
    get { handlers.access }
    set { handlers.access = newValue }
  }
  /// Called when a limit is exceeded: returns the nanoseconds by which to extend it, or nil to end the run. Without a
  /// handler the run ends.
  public var limitHandler: ((ExecCtx, Limit) -> Int64?)? {
    get { handlers.limit }
    set { handlers.limit = newValue }
  }

  /// What the guest's time of day (call 2) is ahead of CLOCK_MONOTONIC, in nanoseconds: that of the host when the context was created,
  /// so that the time never goes back in a run.
  public var clockOffset: Int64 { clocks.timeOfDay }
  /// Its name and arguments, each with a terminating zero byte.
  public var arguments: [UInt8] { guest.described.chosen.arguments }

  /// The context's memory: regions, and checked access to them.
  public var memory: GuestMemory {
    @inline(__always) _read { yield guest.memory }
  }
  /// The architecture of the guest.
  public var architecture: Architecture { guest.architecture }
  /// How its calls leave the guest.
  public var transport: Transport { guest.transport }
  var frame: UnsafeMutablePointer<UInt64> { guest.frame }

  /// The number of calls that it has made.
  public var calls: UInt64 { callCounts.total }
  /// The kernel's counters of the exits of its first CPU, and in lockstep of its primary; nil if the kernel has none. To be called on
  /// the thread that runs this CPU.
  package var exitCounts: ExitCounts? { try? guest.cpu.vcpu.exitCounts() }

  /// Whether it is an applet in user mode.
  public var isSecure: Bool { guest.isUserMode }
  /// Whether it is a program in system mode.
  public var isNonSecure: Bool { !isSecure }

  /// The state that only an applet has; nil for a program.
  @inline(__always)
  var applet: AppletMode? { if case .applet(let applet) = kind { applet } else { nil } }
  /// The state that only a program has; nil for an applet.
  @inline(__always)
  var program: ProgramMode? { if case .program(let program) = kind { program } else { nil } }

  /// The flattened device tree that it was given, which a program may have changed since. Empty if there is none.
  public var deviceTree: [UInt8] {
    guard let region = memory.regions.first(where: { $0.use == .deviceTree }) else { return [] }
    let buffer = memory.bytes(
      at: region.range.lowerBound, count: Int(region.range.upperBound - region.range.lowerBound))
    return Array(treeIn: UnsafeRawBufferPointer(buffer))
  }

  /// Ends the run with a status: `run()` returns after the current call.
  public func exit(status: UInt8) { exitStatus = status }

  /// Stops the context from any thread.
  public var stopper: Stopper { Stopper(control: guest.cpus.control) }

  /// Stops the context: its run returns `.stopped`. If it is not running, its next run is stopped. Other threads use
  /// its `stopper`.
  public func stop() { stopper.stop() }

  /// Waits until its run has ended: `Stopper.waitUntilDone`.
  public func waitUntilDone(deadline: Int64? = nil) -> Bool { stopper.waitUntilDone(deadline: deadline) }

  /// Calls `body` whenever a descriptor is readable while the context runs: on the context's thread, between two
  /// entries, with the guest's registers up to date. It may stop the context.
  ///
  /// Must be called by the thread that will run the context. While the guest runs, a kick must follow whatever makes
  /// the descriptor readable (`linux_kick_when_ready`).
  public func onReadable(_ descriptor: Int32, _ body: @escaping (ExecCtx) -> Void) {
    readable = (descriptor, body)
    // Data that came before the first entry did not cause a kick.
    guest.cpu.vcpu.requestExit()
  }

  /// An address as the applet's symbol and offset, `symbol+0x10`; nil if its image has no symbol there.
  public func name(of address: UInt64) -> String? {
    guard memory.regions.contains(where: { $0.use == .image && $0.range.contains(address) }),
      let (name, offset) = symbols?.nearest(to: address)
    else { return nil }
    return offset == 0 ? name : "\(name)+\(hex(offset))"
  }
}

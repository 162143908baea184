import Applet
import AppletABI
import CLinux
import DeviceTree
import KVM
import Machine
import Platform

/// An execution context: a program in a virtual machine of its own, and everything the monitor knows of it.
///
/// A context is made from memory and an entry point, run with `run()`, which answers its calls through its handler, and
/// stopped with `stop()`. One thread at a time may use it; `stop()` alone may be called from any other.
public final class ExecCtx: @unchecked Sendable {
  // Ended in this order: the vCPU, its machine, the memory behind it.
  var vcpu: VCPU
  let machine: VirtualMachine
  /// The memory slots that the machine has.
  var slots: [MemorySlot]
  /// The context's memory: regions, and checked access to them.
  public internal(set) var memory: GuestMemory

  /// The guest's page tables, which lie in its memory; nil where the guest is left to make its own.
  var tables: PageTable?

  /// The processor that the context runs on.
  public let architecture: Architecture
  let kernel: any Kernel
  /// How its calls leave the guest.
  public let transport: Transport
  /// The trap frame: `APPLET_FRAME_WORDS` words in the context's own memory, which live as long as the context.
  let frame: UnsafeMutablePointer<UInt64>
  /// The part of it where a call has its number and its result, and behind it the arguments.
  let call: UnsafeMutablePointer<UInt64>
  /// What its device tree says.
  var described: MachineDescription
  let control = RunControl()
  /// See `attend`.
  var attention: ((ExecCtx) -> Void)?
  var limits = Limits()
  /// The processors of a non-secure context; nil for a secure one, which has one processor.
  let processors: Processors?
  /// Whether it is an applet in user mode, not a program in system mode.
  public var isSecure: Bool { processors == nil }
  /// Calls that it has made.
  public internal(set) var calls: UInt64 = 0

  /// Answers the context's calls; nil for `secureHandler` or `nonSecureHandler`, GoTEE's calls and Swiftlet's.
  public var handler: Handler?
  /// Serves its RPC requests; an empty one where nobody sets another.
  public lazy var server = Server()
  /// Bytes of requests and responses under way.
  var transfer = TransferBuffers()
  /// Where its output goes.
  public let console: Console
  /// What `read` gives it: a descriptor that stays open as long as the context lives.
  public let input: Int32
  /// Its name and arguments, each ended by a zero byte.
  public let arguments: [UInt8]
  /// Asked when a limit is passed: gives the nanoseconds by which it is extended, or nil to end the run. nil for no
  /// extension ever.
  public var limitHandler: ((ExecCtx, Limit) -> Int64?)?
  /// The names in the applet's file; nil for a context that was made of no image.
  var symbols: Symbols?

  /// The copies that run in lockstep with it; nil for none.
  var lockstep: Lockstep?
  /// What lockstep has seen so far.
  public internal(set) var lockstepReport = LockstepReport()
  /// What ended the last entry, while in lockstep; without, whether an interruption did that is looked after.
  var event = Event.call
  /// The thread's processor clock when it was looked at last for a guest that sleeps.
  var seenCPU: Int64 = 0
  /// The sleep that a stop or a limit has interrupted: PC behind the call, how long it is, and its end in CLOCK_MONOTONIC
  /// nanoseconds.
  var sleepUnderWay: (pc: UInt64, nanoseconds: UInt64, end: Int64)?
  /// Whether it was allowed to read the counter.
  var mayReadCounter = false
  /// Whether all copies came to the same call.
  var agrees = false

  /// The status that it exited with; nil before.
  public private(set) var exitStatus: UInt8?

  /// Answers one call of a context: registers and memory are the context's to read and change.
  /// - Throws: what ends the context's run.
  public typealias Handler = (ExecCtx) throws(ExecError) -> Void

  /// How calls leave a guest.
  public enum Transport: Equatable, Sendable {
    /// arm64: HVC, forwarded by the kernel's SMCCC filter (Linux 6.4).
    case hvc
    /// arm64: a store to an address without memory behind it, which every kernel reports.
    case mmio
    /// riscv64: ECALL in SBI's experimental extension range.
    case sbi
  }

  /// What a context may be given beside memory and entry point.
  public struct Options {
    /// arm64: which transport to use; nil for the best that the kernel has.
    public var transport: Transport?
    /// Non-secure contexts: how many processors.
    public var processors = 1
    /// The applet's name and arguments.
    public var arguments: [String] = []
    /// What to make of the generated device tree.
    public var deviceTree = TreeChanges()
    /// Descriptors of its console.
    public var output: Int32 = STDOUT_FILENO
    public var input: Int32 = STDIN_FILENO

    public init() {}
  }

  /// What a context consists of, once everything that can fail has been done.
  struct Parts: ~Copyable {
    let vcpu: VCPU
    let machine: VirtualMachine
    let memory: GuestMemory
    let tables: PageTable?
    let frame: UnsafeMutablePointer<UInt64>
    let transport: Transport
    let described: MachineDescription
    let kernel: any Kernel
    /// nil for secure contexts.
    let processors: Processors?
  }

  init(_ parts: consuming Parts, options: Options) {
    architecture = parts.described.architecture
    arguments = parts.described.chosen.arguments
    described = parts.described
    transport = parts.transport
    frame = parts.frame
    call = parts.frame + parts.described.architecture.callRegister
    tables = parts.tables
    kernel = parts.kernel
    processors = parts.processors
    console = Console(descriptor: options.output)
    input = options.input
    vcpu = parts.vcpu
    machine = parts.machine
    // The parts were made with all of it in one.
    slots = [
      MemorySlot(number: 0, range: parts.memory.slot, memory: parts.memory.mapping, offset: 0, isReadOnly: false)
    ]
    memory = parts.memory
  }

  /// The flattened device tree that it was given; a non-secure context may have changed it since. Empty where there is none.
  public var deviceTree: [UInt8] {
    guard let region = memory.regions.first(where: { $0.use == .deviceTree }) else { return [] }
    let room = memory.bytes(at: region.range.lowerBound, count: Int(region.range.upperBound - region.range.lowerBound))
    return Array(treeIn: UnsafeRawBufferPointer(room))
  }

  /// Ends the applet: `run()` returns behind the present call.
  public func exit(status: UInt8) { exitStatus = status }

  /// Stops the context, from any thread, wherever it is: its run ends with `.stopped`. A context that does not run is
  /// stopped at its next run.
  public func stop() {
    control.requestStop { vcpu.requestExit() }
    // The thread may be running the applet beside this context, which it looks after its own request is made.
    processors?.trusted?.context.stop()
  }

  /// Lets somebody outside have the context's attention while it runs: whenever the descriptor can be read, `body` is called on
  /// the context's thread, between two entries, with the guest's registers in place. It may stop the context.
  ///
  /// To be called by the thread that will run the context. Where the guest runs, a kick must follow what makes the descriptor
  /// readable (`linux_kick_when_ready`).
  public func attend(to descriptor: Int32, _ body: @escaping (ExecCtx) -> Void) {
    control.attend(to: descriptor)
    attention = body
    // What came before the first entry came without a kick.
    vcpu.requestExit()
  }

  /// Waits, on any thread but the one that runs the context, until its run has ended; before its first run, until that has.
  /// - Parameter deadline: CLOCK_MONOTONIC nanoseconds after which it is not waited for any longer; nil for never.
  /// - Returns: whether the run has ended.
  public func waitUntilDone(deadline: Int64? = nil) -> Bool { control.waitForEnd(until: deadline) }

  /// An address by the applet's own names: `symbol+0x10`; nil where its file has none there.
  public func name(of address: UInt64) -> String? {
    guard memory.regions.contains(where: { $0.use == .image && $0.range.contains(address) }),
      let (name, offset) = symbols?.nearest(to: address)
    else { return nil }
    return offset == 0 ? name : "\(name)+\(hex(offset))"
  }

  /// Whether an exit that is no hypercall is the guest's doorbell.
  func isDoorbell(_ address: UInt64, isWrite: Bool) -> Bool {
    isWrite && transport == .mmio && address == memory.layout.doorbell
  }
}

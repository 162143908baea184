import Applet
import AppletABI
import CLinux
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
  /// The context's memory: regions, and checked access to them.
  public internal(set) var memory: GuestMemory

  /// The guest's page tables, which lie in its memory.
  var tables: PageTable

  /// The processor that the context runs on.
  public let architecture: Architecture
  let kernel: any Kernel
  /// How its calls leave the guest.
  public let transport: Transport
  /// The trap frame: `APPLET_FRAME_WORDS` words in the context's own memory, which live as long as the context.
  let frame: UnsafeMutablePointer<UInt64>
  private let doorbell: UInt64
  let control = RunControl()
  var limits = Limits()
  /// Calls that it has made.
  public internal(set) var calls: UInt64 = 0

  /// Answers the context's calls; nil for `secureHandler`, GoTEE's calls and Swiftlet's.
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
  public internal(set) var arguments: [UInt8]
  /// Asked when a limit is passed: gives the nanoseconds by which it is extended, or nil to end the run. nil for no
  /// extension ever.
  public var limitHandler: ((ExecCtx, Limit) -> Int64?)?
  /// The names in the applet's file; nil for a context that was made of no image.
  private var symbols: Symbols?

  /// The copies that run in lockstep with it; nil for none.
  var lockstep: Lockstep?
  /// What lockstep has seen so far.
  public internal(set) var lockstepReport = LockstepReport()
  /// What ended the last entry, while in lockstep.
  var event = Event.interrupted
  var hasFaultInjection = false
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
    /// The applet's name and arguments.
    public var arguments: [String] = []
    /// Descriptors of its console.
    public var output: Int32 = STDOUT_FILENO
    public var input: Int32 = STDIN_FILENO

    public init() {}
  }

  /// Makes a secure context: user mode behind Swiftlet's shim.
  /// - Parameters:
  ///   - entry: address of the first instruction.
  ///   - memory: laid out and loaded; the context takes it over.
  ///   - system: the host's KVM.
  ///   - architecture: the host's.
  /// - Throws: `KVMError` where the kernel cannot make it. Nothing is left behind then.
  public init(
    entry: UInt64, memory: consuming GuestMemory, system: borrowing System, architecture: Architecture,
    options: Options = Options()
  ) throws(KVMError) {
    let layout = memory.layout
    let machine = try system.makeVirtualMachine()
    let transport: Transport
    switch (architecture, options.transport) {
    case (.riscv64, _): transport = .sbi
    case (.arm64, .mmio?): transport = .mmio
    case (.arm64, let wanted):
      if try machine.forwardHypercalls(0...UInt32(APPLET_CALL_LAST)) {
        transport = .hvc
      } else if wanted == .hvc {
        throw .failed(.setDeviceAttribute, .noSuchDevice)
      } else {
        transport = .mmio
      }
    }
    try machine.setMemory(slot: 0, address: layout.slot.lowerBound, memory: memory.mapping.bytes)
    let tables = memory.writeMonitorPages(architecture: architecture, transport: transport)
    let vcpu = try machine.makeVCPU(number: 0, architecture: architecture)
    for setting in architecture.secureStart(layout) { try vcpu.setRegister(setting.id, setting.value) }
    do { _ = try checked(linux_kick_install()) } catch { throw .failed(.installKick, error) }

    // The frame's page is inside the mapping, which the context owns until its own end.
    frame = memory.bytes(at: layout.frame, count: Int(APPLET_FRAME_WORDS) * 8).baseAddress!
      .bindMemory(to: UInt64.self, capacity: Int(APPLET_FRAME_WORDS))
    frame[architecture.stackRegister] = layout.stack.upperBound
    frame[Int(APPLET_FRAME_PC)] = entry
    frame[Int(APPLET_FRAME_STATUS)] = architecture.initialStatus
    frame[Int(APPLET_FRAME_DOORBELL)] = layout.doorbell
    doorbell = layout.doorbell
    self.vcpu = vcpu
    self.machine = machine
    self.memory = memory
    self.tables = tables
    self.architecture = architecture
    self.transport = transport
    kernel = system.kernel
    console = Console(descriptor: options.output)
    input = options.input
    var arguments: [UInt8] = []
    for argument in options.arguments {
      arguments.append(contentsOf: argument.utf8)
      arguments.append(0)
    }
    self.arguments = arguments
  }

  /// Loads an image into memory of its own and makes a secure context of it.
  /// - Parameters:
  ///   - image: used up: what the applet sees is a copy.
  ///   - memorySize: bytes of memory for image, heap and stack; `SecureLayout.leastMemory` to `mostMemory`.
  /// - Throws: `LoadError`.
  public convenience init(
    image: consuming AppletImage, memorySize: UInt64 = SecureLayout.defaultMemory, system: borrowing System,
    architecture: Architecture, options: Options = Options()
  ) throws(LoadError) {
    let layout: SecureLayout
    do {
      layout = try SecureLayout(
        image: image.range, size: memorySize, hostPage: UInt64(linux_page_size()),
        addressLimit: 1 << UInt64(system.addressBits(of: architecture)))
    } catch { throw .image(.layout(error, memory: memorySize)) }
    var memory: GuestMemory
    do { memory = try GuestMemory(layout: layout, kernel: system.kernel) } catch {
      throw .kvm(.failed(.mapMemory, error))
    }
    memory.load(image)
    do {
      try self.init(entry: image.entry, memory: memory, system: system, architecture: architecture, options: options)
    } catch { throw .kvm(error) }
    symbols = image.intoSymbols()
  }

  /// Ends the applet: `run()` returns behind the present call.
  public func exit(status: UInt8) { exitStatus = status }

  /// Stops the context, from any thread, wherever it is: its run ends with `.stopped`. A context that does not run is
  /// stopped at its next run.
  public func stop() {
    control.requestStop { vcpu.requestExit() }
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
  func isDoorbell(_ address: UInt64, isWrite: Bool) -> Bool { isWrite && address == doorbell && transport == .mmio }
}

/// Why no context could be made of an image.
public enum LoadError: Error, Equatable {
  case image(ImageError)
  case kvm(KVMError)
}

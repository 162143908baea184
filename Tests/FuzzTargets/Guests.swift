import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport

private let null = Int32(truncatingIfNeeded: linux_open("/dev/null", O_RDWR | O_CLOEXEC, 0))
/// The applets' files, which exist as long as the process.
nonisolated(unsafe) private let images = architectures.map { architecture in
  let bytes = ELFBuilder.applet(architecture).bytes()
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
  buffer.copyBytes(from: bytes)
  return buffer
}

extension ScriptedKernel {
  /// Makes a context whose guest a fuzzer controls: an applet, or a program in system mode.
  /// - Parameter adjust: changes the options.
  func makeContext(
    _ architecture: Architecture, on system: borrowing System, isSecure: Bool,
    _ adjust: (inout ExecCtx.Options) -> Void
  ) -> ExecCtx {
    runsApplets = isSecure
    var options = ExecCtx.Options()
    options.arguments = ["fuzz.elf", "argument"]
    (options.input, options.output) = (null, null)
    adjust(&options)
    let bytes = UnsafeRawBufferPointer(images[architectures.firstIndex(of: architecture)!])
    // Only the monitor's inputs are hostile here: the context can be made.
    let contents = try! FileContents(copying: bytes, kernel: self)
    return try! ExecCtx(
      image: try! AppletImage(contents, architecture: architecture), secure: isSecure, memorySize: 256 << 10,
      system: system, architecture: architecture, options: options)
  }
}

/// A context on a scripted kernel, whose guest a fuzzer controls.
final class GuestHarness {
  let kernel: ScriptedKernel
  let context: ExecCtx
  /// The address of the guest's heap, the same for each.
  var heap: UInt64 { context.memory.regions.first { $0.use == .heap }?.range.lowerBound ?? 0 }

  /// - Parameter isSecure: whether it is an applet; a program in system mode has neither a choice of transport nor
  ///   shadows.
  init(
    _ architecture: Architecture, isSecure: Bool = true, transport: ExecCtx.Transport? = nil, shadows: Int = 0
  ) {
    kernel = ScriptedKernel(architecture)
    let system = try! System(kernel: kernel)
    context = kernel.makeContext(architecture, on: system, isSecure: isSecure) { $0.transport = transport }
    if isSecure, shadows > 0 {
      let copies = (0..<shadows).map { _ in try! context.clone(on: system) }
      try! context.setShadows(copies)
    }
  }

  /// Runs the guest to its end, whatever the outcome.
  func run(_ program: @escaping (Guest) -> Int) {
    kernel.program = program
    // It may hold this object, which holds the kernel.
    defer { kernel.program = { _ in -Int(ENODATA) } }
    do throws(ExecError) { _ = try context.run() } catch {
      hold(!error.description.isEmpty && !error.description.contains("\n"), "an error is one line")
    }
    _ = context.description
    hold(kernel.violations.isEmpty, "the kernel is used as it wants to be")
  }
}

extension FuzzTarget {
  /// Trap frames, call arguments and exits: any that a guest can cause, at each of its entries.
  static let call = FuzzTarget(
    name: "call", input: "calls and exceptions of applets and programs",
    run: { bytes in
      var input = Input(bytes)
      let first = input.byte()
      let architecture: Architecture = first & 1 == 0 ? .arm64 : .riscv64
      let transport: ExecCtx.Transport? = architecture == .arm64 && first & 2 != 0 ? .mmio : nil
      let shadows = first & 12 == 12 ? 2 : first & 12 == 8 ? 1 : 0
      let isSecure = first & 16 == 0
      let harness = GuestHarness(architecture, isSecure: isSecure, transport: transport, shadows: shadows)
      harness.context.deadline = Clock.monotonic + 1_000_000_000
      var script = Script(input, harness)
      harness.run { isSecure ? script.step($0) : script.stepInSystemMode($0) }
    },
    seeds: {
      var calls: [UInt8] = []
      for number in (0...5).map({ UInt64($0) }) + (0x100...0x106).map({ UInt64($0) }) {
        // A call with a buffer in the heap, and one without access.
        calls += [0, UInt8(number & 0xff), UInt8(number >> 8), 1, 0, 0, 16]
        calls += [0, UInt8(number & 0xff), UInt8(number >> 8), 5, 0, 3, 255, 255, 255, 255, 255, 255, 255, 255]
      }
      return [0, 1, 2, 8, 13, 16, 17].map { [$0] + calls } + [[0, 2, 0, 3, 0xff], [1, 3, 9, 9, 9, 9, 9, 9]]
    })

  /// The guest's script, from the bytes of an input.
  private struct Script {
    private var input: Input
    private let heap: UInt64
    /// Addresses near boundaries.
    private let bounds: [UInt64]

    init(_ input: Input, _ harness: GuestHarness) {
      self.input = input
      heap = harness.heap
      let context = harness.context
      let stack = context.memory.regions.first { $0.use == .stack }?.range ?? 0..<0
      bounds = [
        heap, 0x8000_0000, 0x8000_1000, 0x8000_2000, stack.lowerBound, stack.upperBound,
        context.isSecure ? context.memory.layout.frame : context.memory.slot.lowerBound, context.memory.slot.upperBound,
        0,
        .max, 1 << 38, 1 << 63,
      ]
    }

    /// The script of a program: calls by registers and by block, calls of firmware, loads and stores without memory,
    /// exceptions.
    mutating func stepInSystemMode(_ guest: Guest) -> Int {
      if input.isEmpty || guest.entry > 2000 { return guest.systemCall(APPLET_CALL_EXIT, 0) }
      switch input.byte() & 15 {
      case 0...7:
        var number = UInt64(input.number(UInt16.self))
        // The kernel answers calls that the filter does not forward.
        if guest.architecture == .arm64 { number %= number & 0x1000 == 0 ? UInt64(APPLET_CALL_LAST) + 1 : 0x1003 }
        if (UInt64(APPLET_CALL_LAST) + 1..<UInt64(APPLET_CALL_EXCEPTION)).contains(number) { number = 0 }
        var arguments = (0..<3).map { _ in input.value(near: bounds) }
        if number == UInt64(APPLET_CALL_SLEEP) { arguments[0] %= 1000 }
        return guest.systemCall(number, arguments[0], arguments[1], arguments[2])
      case 8, 10:
        // Memory for the next call, or a call block.
        guest.store(input.take(Int(input.byte())), at: heap + UInt64(input.byte()))
        return guest.systemCall(APPLET_CALL_BY_BLOCK)
      case 9:
        let ids = guest.architecture.facts.exception
        for id in [ids.cause, ids.pc, ids.address] { guest.cpu.setRegister(id, input.number()) }
        return guest.systemCall(APPLET_CALL_EXCEPTION)
      case 11: return guest.mmio(input.value(near: bounds), isWrite: input.byte() & 1 == 0, input.take(8))
      case 12:
        let extensions: [UInt] = [0x10, 1, 2, 0x4442_434e, 0x0800_0001, 0x0900_0000]
        let which = extensions[Int(input.byte()) % extensions.count]
        let arguments = (0..<3).map { _ in input.value(near: bounds) }
        return guest.sbi(which, UInt(input.byte() & 3), arguments)
      default: return exit(guest)
      }
    }

    mutating func step(_ guest: Guest) -> Int {
      if input.isEmpty || guest.entry > 2000 { return guest.call(APPLET_CALL_EXIT, 0) }
      switch input.byte() & 15 {
      case 0...7:
        let number = UInt64(input.number(UInt16.self))
        var arguments = (0..<3).map { _ in input.value(near: bounds) }
        // Sleeping is not tested.
        if number == UInt64(APPLET_CALL_SLEEP) { arguments[0] %= 1000 }
        return guest.call(number, arguments[0], arguments[1], arguments[2])
      case 8:
        // Memory for the next call.
        let content = input.take(Int(input.byte()))
        guest.store(content, at: heap + UInt64(input.byte()))
        return guest.call(APPLET_CALL_YIELD)
      case 9: return guest.trap(cause: input.number(), address: input.number(), pc: input.number())
      case 10:
        for word in 0..<Int(APPLET_FRAME_ON_EXIT) where input.byte() & 3 == 0 { guest.frame[word] = input.number() }
        return guest.leave()
      case 11: return guest.mmio(input.value(near: bounds), isWrite: input.byte() & 1 == 0, input.take(8))
      case 12: return guest.sbi(UInt(input.number(UInt64.self)), UInt(input.number(UInt64.self)))
      default: return exit(guest)
      }
    }

    /// Any exit, or none.
    private mutating func exit(_ guest: Guest) -> Int {
      switch input.byte() & 3 {
      case 0, 1:
        let reason = input.number(UInt32.self)
        let words = (0..<4).map { _ in input.number(UInt64.self) }
        return guest.exit(reason) { run in
          // The union after the header, of which the kernel sets the member for the exit reason.
          withUnsafeMutableBytes(of: &run) { bytes in
            for (index, word) in words.enumerated() {
              bytes.storeBytes(of: word, toByteOffset: 32 + index * 8, as: UInt64.self)
            }
          }
        }
      case 2: return [-Int(EINTR), -Int(EAGAIN)][Int(input.byte() & 1)]
      default: return -Int(input.byte() & 127)
      }
    }
  }
}

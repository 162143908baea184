import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform
import TestSupport

@testable import Monitor

extension FuzzTarget {
  /// Programs in system mode: calls in registers and in blocks of memory, calls of firmware, exceptions, any exit; with
  /// one or two CPUs, with and without a peer, with `run` or `exec`, stopped and run again.
  static let system = FuzzTarget(
    name: "system", input: "calls and exits of programs in system mode, and of a peer",
    run: { bytes in
      var input = Input(bytes)
      ProgramHarness(flags: input.byte()).run(Program(input))
    },
    seeds: {
      var calls: [UInt8] = []
      for number in (0...7).map({ UInt64($0) }) + (0x100...0x108).map({ UInt64($0) }) {
        calls += [0, UInt8(number & 0xff), UInt8(number >> 8), 1, 0, 0, 16, 0, 0]
        calls += [6, UInt8(number & 0xff), UInt8(number >> 8), 1, 0, 0, 16, 0, 0]
      }
      let block: [UInt8] = [7, 1, 64]
      let firmware: [UInt8] = [11, 3, 0, 0, 8, 1, 0, 0, 0, 11, 0, 3, 0, 0, 0, 0, 0, 0, 12, 1]
      return [0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 22, 23].map { [$0] + block + calls + firmware }
        + [[0, 9, 1, 2, 3, 4, 5, 6, 7, 8], [1, 13, 6, 0, 0, 0], [2, 14, 2, 14, 0, 15, 4]]
    })

  /// Exits of a Linux guest, with devices at the addresses of its loads and stores.
  static let exits = FuzzTarget(
    name: "exits", input: "exits of Linux guests",
    run: { bytes in
      var input = Input(bytes)
      let architecture = architectures[Int(input.byte() & 1)]
      let kernel = ScriptedKernel(architecture)
      kernel.runsApplets = false
      kernel.mostEntries = 2000
      // Only the guest is hostile: its VM can be created.
      let system = try! System(kernel: kernel)
      let machine = try! system.makeVirtualMachine()
      let cpus = try! CPUSet(of: machine, stopEndsRun: true, architecture: architecture)
      let run = LinuxRun(cpus.control, architecture: architecture, faultInterval: 0)
      let board = DeviceBoard()
      var program = Program(input)
      kernel.program = { program.linuxStep($0) }
      run.serve(cpus.first, bus: board.bus, output: board.output)
      do throws(LinuxError) { _ = try run.result() } catch {
        hold(!error.description.isEmpty && !error.description.contains("\n"), "an error is one line")
      }
      hold(run.isOver, "it has ended for a reason")
    },
    seeds: {
      let register: [UInt8] = [0, 2, 0x70, 1, 1, 15, 1, 2, 0x70, 1, 4, 1, 1, 0, 0, 8]
      return [0, 1].map { [$0] + register + [3, 9, 1, 4, 2, 5, 1] } + [
        [0, 5, 2], [1, 5, 3], [0, 4, 6, 0, 0, 0], [0, 7, 14],
      ]
    })
}

/// A program in system mode on a scripted kernel, and its peer.
private final class ProgramHarness {
  private let kernel: ScriptedKernel
  private let context: ExecCtx
  private let isByHand: Bool
  private let runs: Int
  private let appletCPU: Int

  /// - Parameter flags: riscv64, two CPUs, a peer, `exec`, run again after its end.
  init(flags: UInt8) {
    let architecture = architectures[Int(flags & 1)]
    let kernel = ScriptedKernel(architecture)
    self.kernel = kernel
    kernel.mostEntries = 2000
    isByHand = flags & 8 != 0
    runs = flags & 16 != 0 ? 3 : 1
    let system = try! System(kernel: kernel)
    let cpus = isByHand || flags & 2 == 0 ? 1 : 2
    context = kernel.makeContext(architecture, on: system, isSecure: false) { $0.cpus = cpus }
    appletCPU = cpus
    guard flags & 4 != 0 else { return }
    try! context.attach(kernel.makeContext(architecture, on: system, isSecure: true) { _ in })
  }

  func run(_ program: Program) {
    let lock = Lock()
    var program = program
    program.heap = context.memory.regions.first { $0.use == .heap }?.range.lowerBound ?? 0
    program.bounds =
      context.memory.regions.flatMap { [$0.range.lowerBound, $0.range.upperBound] } + [0, .max, 1 << 63]
    kernel.program = { [stopper = context.stopper, appletCPU] guest in
      // Two CPUs share the bytes.
      lock.withLock {
        if program.isStopNext() { stopper.stop() }
        return guest.cpu.number == appletCPU ? program.appletStep(guest) : program.step(guest)
      }
    }
    for _ in 0..<runs {
      // Sleeping is not tested.
      context.deadline = Clock.monotonic + 20_000_000
      do throws(ExecError) {
        if isByHand { try enterByHand() } else { _ = try context.run() }
      } catch { hold(!error.description.isEmpty && !error.description.contains("\n"), "an error is one line") }
      for number in 0..<context.cpuCount {
        try? context.show(cpu: number)
        _ = context.description
      }
    }
    // It holds the context, which holds the kernel.
    kernel.program = { _ in -Int(ENODATA) }
    hold(kernel.violations.isEmpty, "the kernel is used as it wants to be")
  }

  private func enterByHand() throws(ExecError) {
    for entry in 0..<1000 {
      if entry % 3 == 2 {
        guard try context.schedule() == nil else { return }
      } else {
        switch try context.exec() {
        case .call: break
        case .ended: return
        case .fault, .interrupted: continue
        }
      }
      do throws(ExecError) { try nonSecureHandler(context) } catch {
        guard case .unknownCall = error else { throw error }
      }
      if context.exitStatus != nil { return }
    }
  }
}

/// The guest's script, from the bytes of an input.
struct Program {
  fileprivate var input: Input
  /// Memory of the guest.
  fileprivate var heap: UInt64 = 0
  /// Addresses near boundaries.
  fileprivate var bounds: [UInt64] = []

  init(_ input: Input) { self.input = input }

  /// The next step, determined by the low bits.
  private var operation: UInt8?

  /// Whether a stop is requested before the next step.
  fileprivate mutating func isStopNext() -> Bool {
    operation = input.isEmpty ? nil : input.byte()
    return operation ?? 0 >= 0xf0
  }

  /// The length of a load or store, 1 to 8 bytes.
  private mutating func bytes() -> [UInt8] { (0..<Int(input.byte() & 7) + 1).map { _ in input.byte() } }

  private mutating func arguments() -> [UInt64] { (0..<3).map { _ in input.value(near: bounds) } }

  /// A call's number, whose result takes few instructions.
  private mutating func number() -> UInt64 {
    let number = UInt64(input.number(UInt16.self))
    return number == UInt64(APPLET_CALL_SLEEP) ? UInt64(APPLET_CALL_YIELD) : number
  }

  /// Any hypercall: the kernel checks the filter's ranges.
  private func call(_ guest: Guest, _ number: UInt64, _ arguments: [UInt64]) -> Int {
    guard guest.architecture == .arm64 else {
      return guest.sbi(UInt(APPLET_SBI_EXTENSION), UInt(truncatingIfNeeded: number), arguments)
    }
    guest.cpu.setRegister(ARM64.x(0), number)
    for (index, argument) in arguments.enumerated() { guest.cpu.setRegister(ARM64.x(1 + index), argument) }
    return guest.exit(LINUX_KVM_EXIT_HYPERCALL.rawValue) { $0.hypercall.nr = number }
  }

  mutating func step(_ guest: Guest) -> Int {
    guard let operation else { return call(guest, UInt64(APPLET_CALL_EXIT), [0, 0, 0]) }
    switch operation & 15 {
    case 0...4: return call(guest, number(), arguments())
    case 5: return call(guest, input.number(), arguments())
    case 6:
      // A call block, or memory for a call.
      let words = [number()] + arguments()
      guest.store(words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64($0 * 8)) } }, at: heap)
      return call(guest, UInt64(APPLET_CALL_BY_BLOCK), arguments())
    case 7:
      let address = input.byte() & 1 == 1 ? heap : input.value(near: bounds)
      return call(guest, UInt64(APPLET_CALL_BLOCK), [address, 0, 0])
    case 8:
      guest.store(input.take(Int(input.byte())), at: heap + UInt64(input.byte()))
      return call(guest, number(), [heap, UInt64(input.byte()), 0])
    case 9:
      let ids = guest.architecture.facts.exception
      for id in [ids.cause, ids.pc, ids.address, ids.saved] { guest.cpu.setRegister(id, input.number()) }
      return guest.architecture == .arm64
        ? call(guest, UInt64(APPLET_CALL_EXCEPTION), arguments())
        : guest.sbi(UInt(APPLET_SBI_EXCEPTION), 0, [])
    case 10: return guest.mmio(input.value(near: bounds), isWrite: input.byte() & 1 == 0, bytes())
    case 11:
      // SBI's base, legacy and console calls, and any other.
      let extensions: [UInt] = [0x10, 1, 2, 0x4442_434e, UInt(APPLET_SBI_EXTENSION), 0x0900_0000]
      let which = Int(input.byte() & 7)
      let function = UInt(input.byte() & 3)
      let id = which < extensions.count ? extensions[which] : UInt(input.number(UInt64.self))
      return guest.sbi(id, function, arguments())
    case 12:
      let type = UInt32(input.byte())
      return guest.exit(LINUX_KVM_EXIT_SYSTEM_EVENT.rawValue) { $0.system_event.type = type }
    default: return exit(guest)
    }
  }

  mutating func appletStep(_ guest: Guest) -> Int {
    guard let operation else { return guest.call(APPLET_CALL_EXIT, 0) }
    switch operation & 7 {
    case 0...3:
      let (number, arguments) = (number(), arguments())
      return guest.call(number, arguments[0], arguments[1], arguments[2])
    case 4: return guest.call(APPLET_CALL_SERVE, input.number(UInt64.self), input.value(near: bounds))
    case 5: return guest.call(APPLET_CALL_YIELD)
    case 6: return guest.trap(cause: input.number(), address: input.number(), pc: input.number())
    default: return exit(guest)
    }
  }

  /// The script of a Linux guest, with devices at `DeviceBoard.place`.
  fileprivate mutating func linuxStep(_ guest: Guest) -> Int {
    if input.isEmpty { return guest.exit(LINUX_KVM_EXIT_SYSTEM_EVENT.rawValue) { $0.system_event.type = 1 } }
    switch input.byte() & 7 {
    case 0...3:
      let address = DeviceBoard.place(Int(input.byte() & 7)) + UInt64(input.number(UInt16.self))
      return guest.mmio(address, isWrite: input.byte() & 1 == 1, bytes())
    case 4: return exit(guest)
    case 5:
      let type = UInt32(input.byte())
      return guest.exit(LINUX_KVM_EXIT_SYSTEM_EVENT.rawValue) { $0.system_event.type = type }
    case 6: return guest.sbi(UInt(input.number(UInt64.self)), UInt(input.byte()), arguments())
    default: return guest.mmio(input.number(), isWrite: input.byte() & 1 == 1, bytes())
    }
  }

  /// Any exit, or none.
  private mutating func exit(_ guest: Guest) -> Int {
    switch input.byte() & 3 {
    case 0, 1:
      let reason = input.number(UInt32.self)
      // The kernel's description of a load or store is valid.
      guard reason != LINUX_KVM_EXIT_MMIO.rawValue else { return -Int(EAGAIN) }
      let words = (0..<4).map { _ in input.number(UInt64.self) }
      return guest.exit(reason) { run in
        withUnsafeMutableBytes(of: &run) { bytes in
          for (index, word) in words.enumerated() {
            bytes.storeBytes(of: word, toByteOffset: 32 + index * 8, as: UInt64.self)
          }
        }
      }
    case 2: return -Int(EINTR)
    default: return -Int(input.byte() & 127)
    }
  }
}

import Applet
import AppletABI
import KVM
import Machine
import Platform

/// A load or store of an applet outside its memory.
public struct MMIOAccess: Equatable, Sendable {
  /// Address of the first byte, as the applet has it.
  public let address: UInt64
  /// Bytes: 1, 2, 4 or 8.
  public let width: Int
  /// The direction, and the value of a store.
  public let operation: Operation

  /// What it does.
  public enum Operation: Equatable, Sendable {
    /// A load, which the handler gives a value.
    case load
    /// The value is in the low bytes, as many as are stored; the others are zero.
    case store(UInt64)
  }

  /// An access of `width` bytes.
  public init(address: UInt64, width: Int, operation: Operation) {
    self.address = address
    self.width = width
    self.operation = operation
  }
}

/// Faults whose instruction the monitor emulates. Every answer is an input of the applet, and in lockstep goes to all of
/// its copies.
extension ExecCtx {
  /// Answers a load or store outside the context's memory, as a device would. It runs where `handler` does, and may look at the
  /// context and change it; `exit(status:)` takes effect at the applet's next call.
  /// - Returns: what is loaded, in its low bytes; any number after a store; nil to refuse the access, which is a fault then.
  /// - Throws: what ends the context's run.
  public typealias AccessHandler = (ExecCtx, MMIOAccess) throws(ExecError) -> UInt64?

  /// Carries out the instruction at PC, which has raised a fault, where that is permitted.
  /// - Parameter guests: the copies that have executed it.
  /// - Returns: whether the applet goes on, after the instruction.
  @inline(never)
  func emulate(_ fault: Fault, _ applet: AppletMode, of guests: [GuestMachine]) throws(ExecError) -> Bool {
    switch fault {
    case .read, .write: return try emulateAccess(fault, guests)
    default:
      guard applet.lockstep != nil || architecture.facts.emulatesCounter else { return false }
      return try emulateCounterRead(fault, guests)
    }
  }

  // MARK: Loads and stores

  private func emulateAccess(_ fault: Fault, _ guests: [GuestMachine]) throws(ExecError) -> Bool {
    guard accessHandler != nil || clocks.mtimeStart != nil, let instruction = instruction(at: pc),
      let access = architecture.loadStore(
        instruction: instruction, pc: pc, status: frame[Int(APPLET_FRAME_STATUS)], register: { frame[$0] }),
      // QEMU before version 8 reports atomic stores as reads.
      access.isStore || fault == .read, let range = access.range,
      !memory.regions.contains(where: { $0.range.overlaps(range) })
    else { return false }
    let zero = architecture.facts.zeroRegister
    func part(_ register: Int, _ offset: Int) throws(ExecError) -> UInt64? {
      try answer(
        MMIOAccess(
          address: access.address + UInt64(offset), width: access.width,
          operation: access.isStore ? .store(access.stored(register == zero ? 0 : frame[register])) : .load))
    }
    guard let first = try part(access.register, 0) else { return false }
    var second: UInt64?
    if let register = access.second {
      second = try part(register, access.width)
      if second == nil { return false }
    }
    for guest in guests {
      func load(_ register: Int, _ value: UInt64) {
        if !access.isStore, register != zero { guest.frame[register] = access.loaded(value) }
      }
      if let writeBack = access.writeBack { guest.frame[writeBack.register] = writeBack.value }
      load(access.register, first)
      if let register = access.second, let second { load(register, second) }
      guest.frame[Int(APPLET_FRAME_PC)] &+= access.length
      guest.loadRegisters()
    }
    return true
  }

  private func answer(_ access: MMIOAccess) throws(ExecError) -> UInt64? {
    if let accessHandler, let answer = try accessHandler(self, access) { return answer }
    return readMtime(access)
  }

  /// `mtime` of a core-local interruptor, which counts microseconds: what GoTEE's applets for riscv64 read the time from.
  private func readMtime(_ access: MMIOAccess) -> UInt64? {
    guard let start = clocks.mtimeStart, let mtime = architecture.facts.mtime, access.operation == .load,
      access.address >= mtime, access.address - mtime <= UInt64(8 - access.width)
    else { return nil }
    return UInt64(max(Clock.monotonic - start, 0) / 1000) >> (8 * (access.address - mtime))
  }

  // MARK: The counter

  /// Gives the count, or its frequency.
  private func emulateCounterRead(_ fault: Fault, _ guests: [GuestMachine]) throws(ExecError) -> Bool {
    guard architecture.mayBeCounterRead(fault),
      let read = architecture.counterRead(
        cause: frame[Int(APPLET_FRAME_CAUSE)], instruction: instruction(at: pc) ?? 0)
    else { return false }
    let value: UInt64
    do {
      if case .frequency = read {
        value = try counterFrequency()
      } else {
        value = try guest.cpu.vcpu.register(architecture.facts.counter)
      }
    } catch { throw .kvm(error) }
    let isExecuted = architecture.passesCondition(
      cause: frame[Int(APPLET_FRAME_CAUSE)], status: frame[Int(APPLET_FRAME_STATUS)])
    for guest in guests {
      func set(_ register: Int, _ value: UInt64) {
        // x31 of arm64 is the zero register here, and x0 of riscv64 always is.
        guard isExecuted, architecture.facts.generalRegisters.contains(register),
          register != architecture.facts.zeroRegister
        else { return }
        guest.frame[register] = architecture.registerValue(value)
      }
      switch read {
      case .count(let register), .frequency(let register): set(register, value)
      case .countPair(let low, let high):
        set(low, value)
        set(high, value >> 32)
      }
      guest.frame[Int(APPLET_FRAME_PC)] &+= 4
      guest.frame[Int(APPLET_FRAME_STATUS)] = architecture.statusAfterInstruction(
        guest.frame[Int(APPLET_FRAME_STATUS)])
      guest.loadRegisters()
    }
    return true
  }
}

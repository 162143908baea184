import Applet
import AppletABI
import KVM
import Machine
import Platform

/// The reason for the end of an entry into an applet: `ExecCtx.Event` in one byte, since every call passes it on.
enum EntryEvent: Equatable {
  case call
  case fault(Fault)
  case interrupted
}

/// How an applet is entered: the shim loads its registers from the trap frame and, at an exception, saves them there.
extension GuestMachine {
  /// Enters the applet until it makes a call or raises an exception.
  /// - Parameter isOver: called after each interruption; if it returns true, the result is `.interrupted`, otherwise
  ///   the applet continues.
  @inline(__always)
  func run(_ isOver: () throws(ExecError) -> Bool) throws(ExecError) -> EntryEvent {
    while true {
      let event = try enter()
      guard case .interrupted = event else { return event }
      cpu.vcpu.clearExitRequest()
      if try isOver() { return .interrupted }
    }
  }

  /// Enters the guest once.
  @inline(__always)
  private func enter() throws(ExecError) -> EntryEvent {
    let awaited: VCPU.Awaited
    do { awaited = try cpu.vcpu.enter(awaiting: UInt64(APPLET_SHIM_EXIT), sbi: UInt64(APPLET_SBI_EXTENSION)) } catch {
      throw .kvm(error)
    }
    switch awaited {
    // The kind of exit identifies the architecture.
    case .hypercall: return event(on: .arm64)
    case .sbi: return event(on: .riscv64)
    case .other(.interrupted): return .interrupted
    case .other(let exit):
      try handleOtherExit(exit)
      return event(on: architecture)
    }
  }

  /// Decodes the exception whose syndrome the shim has saved in the trap frame.
  @inline(__always)
  private func event(on architecture: Architecture) -> EntryEvent {
    switch architecture.trap(cause: frame[Int(APPLET_FRAME_CAUSE)], pc: &frame[Int(APPLET_FRAME_PC)]) {
    case .call: .call
    case .fault(let fault): .fault(fault)
    }
  }

  /// The event with the address of a fault, for users of the library.
  func publicEvent(_ event: EntryEvent) -> ExecCtx.Event {
    switch event {
    case .call: .call
    case .fault(let fault): .fault(fault, address: fault.hasAddress ? frame[Int(APPLET_FRAME_ADDRESS)] : nil)
    case .interrupted: .interrupted
    }
  }

  /// Accepts an exit by the doorbell and rejects any other.
  @inline(never)
  private func handleOtherExit(_ exit: Exit) throws(ExecError) {
    switch exit {
    case .mmio(let address, _, isWrite: true, _) where transport == .mmio && address == memory.layout.doorbell: return
    case .hypercall(function: UInt64(APPLET_SHIM_FAULT)): throw .shim
    default: throw .unexpectedExit(exit)
    }
  }

  /// Runs an interrupted guest on until its registers are in the trap frame and the vCPU is in the shim. Until then the
  /// frame holds the registers of the last call.
  /// - Throws: `ExecError.kvm`; `.shim` if the shim does not return.
  func returnToShim() throws(ExecError) {
    let layout = memory.layout
    let shim = layout.shim..<layout.frame
    var timer: KickTimer?
    var isTrapped = false
    // A kick comes each millisecond, and the shim runs about a hundred instructions.
    for _ in 0..<1000 {
      do throws(KVMError) {
        let pc = try cpu.vcpu.register(architecture.facts.programCounter)
        if !shim.contains(pc) {
          // Let the shim save the registers as at an exception: this takes a few KVM requests instead of one for each
          // register.
          let status = try cpu.vcpu.register(architecture.facts.status)
          try set(architecture.shimTrap(layout, pc: pc, status: status))
          isTrapped = true
        } else if architecture.facts.shimRestore.contains(Int(pc - shim.lowerBound)) {
          // The registers are still in the frame: load them from there again.
          try set(architecture.shimRestart(layout))
          return loadRegisters()
        } else if Int(pc - shim.lowerBound) == architecture.facts.shimReturn {
          return
        }
      } catch { throw .kvm(error) }
      if !isTrapped {
        // It is about to save them and leaves soon, or it returns to the applet and is interrupted there.
        do throws(Errno) {
          if timer == nil { timer = try KickTimer(.wall) }
          try timer?.set(nanoseconds: 1_000_000, interval: 1_000_000)
        } catch { throw .host(error) }
      }
      cpu.vcpu.clearExitRequest()
      let event = try run { true }
      if event == .interrupted { continue }
      // The call is made again when the guest continues.
      if event == .call {
        frame[Int(APPLET_FRAME_PC)] &-= architecture.callSize(cause: frame[Int(APPLET_FRAME_CAUSE)])
      }
      return loadRegisters()
    }
    throw .shim
  }

  /// Sets registers of CPU 0.
  func set(_ settings: [RegisterSetting]) throws(KVMError) {
    for setting in settings { try cpu.vcpu.setRegister(setting.id, setting.value) }
  }

  /// Allows or forbids the applet to read the architectural counter.
  func allowCounter(_ isAllowed: Bool) throws(KVMError) { try set([architecture.counterAccess(isAllowed: isAllowed)]) }
}

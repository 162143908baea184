import Applet
import AppletABI
import DeviceTree
import KVM
import Machine
import Platform

/// The VM of a context, with its CPUs and its memory. Each copy in lockstep has one of its own.
final class GuestMachine {
  // Released in this order: the vCPUs, the VM, its memory.
  let cpus: CPUSet
  /// CPU 0.
  let cpu: CPU
  let machine: VirtualMachine
  /// The memory slots of the VM.
  var slots: [MemorySlot]
  /// Regions, and checked access to them.
  var memory: GuestMemory
  /// The guest's page tables, in its memory; nil if the guest makes its own.
  var tables: PageTable?
  /// The trap frame, `APPLET_FRAME_WORDS` words. That of an applet is in its memory; for a program it holds the
  /// registers of the call that is being answered.
  let frame: UnsafeMutablePointer<UInt64>
  /// The contents of its device tree.
  let described: MachineDescription
  let architecture: Architecture
  let transport: ExecCtx.Transport
  let kernel: any Kernel
  /// Whether it is an applet in user mode, not a program in system mode.
  let isUserMode: Bool
  /// Whether the applet is allowed to read the counter.
  var mayReadCounter = false

  /// - Parameter frame: that of an applet, in its memory; nil for a program.
  init(
    cpus: CPUSet, machine: consuming VirtualMachine, memory: consuming GuestMemory, tables: PageTable?,
    frame: UnsafeMutablePointer<UInt64>?, transport: ExecCtx.Transport, described: MachineDescription,
    kernel: any Kernel
  ) {
    self.cpus = cpus
    cpu = cpus.first
    self.machine = machine
    // The VM was created with one slot for all of the memory.
    slots = [MemorySlot(number: 0, range: memory.slot, memory: memory.mapping, offset: 0, isReadOnly: false)]
    self.memory = memory
    self.tables = tables
    self.transport = transport
    self.described = described
    self.kernel = kernel
    architecture = described.architecture
    isUserMode = frame != nil
    if let frame {
      self.frame = frame
    } else {
      self.frame = .allocate(capacity: Int(APPLET_FRAME_WORDS))
      self.frame.initialize(repeating: 0, count: Int(APPLET_FRAME_WORDS))
      self.frame[Int(APPLET_FRAME_CAUSE)] = architecture.facts.systemCallCause
      self.frame[Int(APPLET_FRAME_STATUS)] = architecture.facts.systemStatus
    }
  }

  deinit { if !isUserMode { frame.deallocate() } }

  /// A copy of the trap frame.
  var frameWords: [UInt64] { Array(UnsafeBufferPointer(start: frame, count: Int(APPLET_FRAME_WORDS))) }

  /// Makes the next entry load all of an applet's registers from the frame.
  func loadRegisters() { frame[Int(APPLET_FRAME_ON_ENTRY)] |= UInt64(APPLET_ENTRY_REGISTERS) }
}

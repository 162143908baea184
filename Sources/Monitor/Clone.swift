import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

extension ExecCtx {
  /// Makes a copy of the context as it is now, to run in lockstep with it (see `shadows`): in a machine and memory of its own,
  /// with the same registers, floating point included. The handler is not carried over.
  ///
  /// Not while the context runs; between two calls, or before the first.
  /// - Parameter system: the host's KVM.
  /// - Throws: `KVMError` where the kernel cannot make it.
  public func clone(on system: borrowing System) throws(KVMError) -> ExecCtx {
    try captureFloatingPoint()
    let copy: GuestMemory
    do { copy = try GuestMemory(layout: memory.layout, kernel: kernel) } catch { throw .failed(.mapMemory, error) }
    // The device tree comes with the memory.
    let parts = try Parts.secure(
      entry: pc, memory: copy, system: system, described: described, transport: transport)
    let clone = ExecCtx(parts, options: Options())
    clone.memory.copyContents(of: memory)
    for piece in memory.added {
      guard let region = memory.regions.first(where: { $0.range.lowerBound == piece.range.lowerBound }) else {
        continue
      }
      let shared: SharedMemory
      do { shared = try SharedMemory(count: piece.memory.bytes.count, kernel: kernel) } catch {
        throw .failed(.mapMemory, error)
      }
      shared.copyContents(of: piece.memory)
      // The clone's memory is laid out as this one's is: there is room.
      do { try clone.add(piece.range.lowerBound, shared, region.access) } catch {
        if case .kvm(let error) = error { throw error }
        throw .failed(.setUserMemoryRegion, .noMemory)
      }
    }
    clone.memory.regions = memory.regions
    clone.frame[Int(APPLET_FRAME_ON_ENTRY)] = UInt64(APPLET_ENTRY_FP)
    return clone
  }

  /// Brings the floating-point registers into the trap frame, from where the next entry loads them again.
  private func captureFloatingPoint() throws(KVMError) {
    for register in architecture.floatingPointRegisters {
      // Every register's words lie within the frame, as the ABI header has them.
      let words = UnsafeMutableRawBufferPointer(start: frame + register.word, count: 16)
      try vcpu.readRegister(register.id, into: words)
    }
    frame[Int(APPLET_FRAME_ON_ENTRY)] |= UInt64(APPLET_ENTRY_FP)
  }
}

extension GuestMemory {
  /// Takes over the contents of another memory with the same layout and the same added pieces.
  package func copyContents(of other: borrowing GuestMemory) {
    mapping.copyContents(of: other.mapping)
    for (mine, theirs) in zip(added, other.added) where mine.memory !== theirs.memory {
      mine.memory.copyContents(of: theirs.memory)
    }
  }
}

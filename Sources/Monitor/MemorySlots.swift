import Applet
import KVM
import Machine
import Platform

/// A memory slot of a VM, with a reference to its memory.
struct MemorySlot {
  /// The slot's number in KVM.
  var number: UInt32
  let range: Range<UInt64>
  let memory: SharedMemory
  /// The offset in the memory at which it begins, in bytes.
  let offset: Int
  /// Whether a store causes an exit (KVM_MEM_READONLY).
  let isReadOnly: Bool

  /// Whether it is equal except for its number.
  func isLike(_ other: Self) -> Bool {
    range == other.range && memory === other.memory && offset == other.offset && isReadOnly == other.isReadOnly
  }
}

extension GuestMachine {
  /// Sets the VM's slots according to memory and regions. If the kernel rejects one, the slots before it are set
  /// already, and `slots` records them.
  ///
  /// An applet cannot change its page tables, which restrict its access, so each mapping of its memory is one slot. A
  /// program in system mode can change them or turn its MMU off: memory that it may not write is a read-only slot, and
  /// memory that it may not access is in no slot.
  /// - Parameter range: slots in this range are deleted and created again, so that KVM invalidates translations that
  ///   CPUs hold.
  func syncMemorySlots(renewing range: Range<UInt64> = 0..<0) throws(KVMError) {
    let wanted = wantedSlots
    for index in slots.indices.reversed()
    where slots[index].range.overlaps(range) || !wanted.contains(where: slots[index].isLike) {
      try machine.removeMemory(slot: slots[index].number)
      slots.remove(at: index)
    }
    for var slot in wanted where !slots.contains(where: slot.isLike) {
      while slots.contains(where: { $0.number == slot.number }) { slot.number += 1 }
      let count = Int(slot.range.upperBound - slot.range.lowerBound)
      try machine.setMemory(
        slot: slot.number, address: slot.range.lowerBound,
        memory: UnsafeMutableRawBufferPointer(rebasing: slot.memory.bytes[slot.offset...].prefix(count)),
        isReadOnly: slot.isReadOnly)
      slots.append(slot)
    }
  }

  /// The slots that are needed, without numbers.
  private var wantedSlots: [MemorySlot] {
    var wanted: [MemorySlot] = []
    add(memory.slot, memory.mapping, to: &wanted)
    for piece in memory.added { add(piece.range, piece.memory, to: &wanted) }
    return wanted
  }

  /// Adds the slots of one mapping, as few as its regions allow. Memory outside all regions is writable.
  private func add(_ piece: Range<UInt64>, _ memory: SharedMemory, to wanted: inout [MemorySlot]) {
    var begin = piece.lowerBound
    var access: Access = .write
    func end(at address: UInt64) {
      if begin < address, !access.isEmpty {
        wanted.append(
          MemorySlot(
            number: 0, range: begin..<address, memory: memory, offset: Int(begin - piece.lowerBound),
            isReadOnly: !access.contains(.write)))
      }
      begin = address
    }
    if !isUserMode {
      var last = piece.lowerBound
      func go(on next: Access, at address: UInt64) {
        let isLike = access.isEmpty == next.isEmpty && access.contains(.write) == next.contains(.write)
        if !isLike { end(at: address) }
        access = next
      }
      for region in self.memory.regions where piece.overlaps(region.range) {
        if region.range.lowerBound > last { go(on: .write, at: last) }
        go(on: region.access, at: region.range.lowerBound)
        last = region.range.upperBound
      }
      if last < piece.upperBound { go(on: .write, at: last) }
    }
    end(at: piece.upperBound)
  }
}

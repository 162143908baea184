import Applet
import KVM
import Machine

/// A memory slot of a context's machine, as KVM was told of it. It keeps the memory that it is made of.
struct MemorySlot {
  /// KVM's number for it.
  var number: UInt32
  let range: Range<UInt64>
  let memory: SharedMemory
  /// Where in the memory it begins, in bytes.
  let offset: Int
  /// Whether a store leaves the guest (KVM_MEM_READONLY).
  let isReadOnly: Bool

  /// Whether it is the same but for its number.
  func isLike(_ other: Self) -> Bool {
    range == other.range && memory === other.memory && offset == other.offset && isReadOnly == other.isReadOnly
  }
}

extension ExecCtx {
  /// Lets the machine's slots be what the pieces of memory and their regions say. Where the kernel refuses one, those before it
  /// are as they were to become, and `slots` says so.
  ///
  /// An applet cannot change its page tables: they hold what it may do, and each piece of its memory is one slot. A program
  /// in system mode can change them, or turn its MMU off: what it may not write is a slot that cannot be written, and what it
  /// may not access is in none.
  func fitSlots() throws(KVMError) {
    let wanted = wantedSlots
    for index in slots.indices.reversed() where !wanted.contains(where: slots[index].isLike) {
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

  /// The slots that there should be, with no numbers yet.
  private var wantedSlots: [MemorySlot] {
    var wanted: [MemorySlot] = []
    add(memory.slot, memory.mapping, to: &wanted)
    for piece in memory.added { add(piece.range, piece.memory, to: &wanted) }
    return wanted
  }

  /// Adds the slots of one piece of memory: as few as its regions allow. What is no region's can be written.
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
    if !isSecure {
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

import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

/// Why a context's memory could not be changed.
public enum RegionError: Error, Equatable {
  /// Address or size is no multiple of the page size: the host's for added memory, 4096 bytes for protection.
  case misaligned
  /// It would lie on other memory, in page zero, or beyond the guest's address space.
  case taken
  /// No region begins there, or the range is not all in regions.
  case missing
  /// Memory that can be written and executed is never given.
  case writableAndExecutable
  /// The page tables have no room for it: fewer scattered regions are needed.
  case tablesFull
  /// The page tables that a program in system mode was given are not as the monitor has left them.
  case tablesChanged
  case kvm(KVMError)

  /// What is wrong, in one line.
  public var description: String {
    switch self {
    case .misaligned: "address or size is no multiple of the page size"
    case .taken: "the addresses are in use, or not a guest's to use"
    case .missing: "no region of the guest's is there"
    case .writableAndExecutable: "memory cannot be writable and executable"
    case .tablesFull: "the guest's page tables have no room for another region so far from the others"
    case .tablesChanged: "the guest has written over the page tables that the monitor made for it"
    case .kvm(let error): error.description
    }
  }
}

/// Changes of a context's memory, between entries: by the thread that runs it, or while none does. Shadows change with it.
///
/// What a program in system mode may do stands in its machine, beyond its own reach; its page tables, which it may change, say
/// the same as long as it leaves them alone. While another of its processors runs, memory that is being changed is not there
/// for a moment.
extension ExecCtx {
  /// Gives the context memory at an address; several contexts may be given the same.
  ///
  /// In lockstep, memory that the applet may write is copied for each shadow; what it may only read is shared with them.
  /// - Throws: `RegionError`; nothing has changed then.
  public func addRegion(at address: UInt64, _ shared: SharedMemory, access: Access) throws(RegionError) {
    let page = UInt64(linux_page_size())
    let count = UInt64(shared.bytes.count)
    guard address % page == 0, count % page == 0 else { throw .misaligned }
    guard !access.isSuperset(of: [.write, .execute]) else { throw .writableAndExecutable }
    guard address > 0, address < PageTable.addressLimit, count <= PageTable.addressLimit - address else { throw .taken }
    let range = address..<address + count
    // The doorbell's page behind the slot is taken too.
    let own = memory.slot.lowerBound..<memory.slot.upperBound + page
    guard !own.overlaps(range), !memory.added.contains(where: { $0.range.overlaps(range) }) else { throw .taken }
    let piece = AddedMemory(range: range, memory: shared)
    try change(range) { (copy) throws(RegionError) in
      try copy.add(copy === self ? piece : try copy.own(piece, access), access)
    }
  }

  /// Takes memory away that `addRegion` has given.
  /// - Parameter address: where it begins.
  public func removeRegion(at address: UInt64) throws(RegionError) {
    guard let range = memory.added.first(where: { $0.range.lowerBound == address })?.range else { throw .missing }
    try change(range) { (copy) throws(RegionError) in try copy.remove(range) }
  }

  /// Changes what the applet may do with a part of its memory; an empty access unmaps it, and keeps its contents. Memory that
  /// shadows share with the context, because none of them could write it, is copied for each before they can.
  /// - Parameter range: whole pages of 4096 bytes, of a program in system mode the host's; all in regions of the context.
  /// - Throws: `RegionError`; nothing has changed then.
  public func protect(_ range: Range<UInt64>, _ access: Access) throws(RegionError) {
    let page = isSecure ? PageTable.pageSize : UInt64(linux_page_size())
    guard (range.lowerBound | range.upperBound) % page == 0 else { throw .misaligned }
    guard !access.isSuperset(of: [.write, .execute]) else { throw .writableAndExecutable }
    try change(range) { (copy) throws(RegionError) in try copy.protectOwn(range, access) }
  }

  /// Changes this context and its shadows alike, or none of them.
  /// - Parameter range: where they change.
  private func change(
    _ range: Range<UInt64>, _ body: (ExecCtx) throws(RegionError) -> Void
  ) throws(RegionError) {
    let copies = [self] + shadows
    // This also keeps memory that is taken away until no slot has it any more.
    let before = copies.map { ($0.memory.added, $0.memory.regions) }
    for index in copies.indices {
      do throws(RegionError) { try body(copies[index]) } catch {
        for (copy, (added, regions)) in zip(copies[...index], before) {
          (copy.memory.added, copy.memory.regions) = (added, regions)
          copy.remap(range)
        }
        throw error
      }
    }
  }

  private func add(_ piece: AddedMemory, _ access: Access) throws(RegionError) {
    memory.added.append(piece)
    let place = memory.regions.firstIndex { $0.range.lowerBound > piece.range.lowerBound } ?? memory.regions.count
    memory.regions.insert(MemoryRegion(range: piece.range, access: access, use: .added), at: place)
    try fit()
    try map(piece.range, access)
  }

  private func remove(_ range: Range<UInt64>) throws(RegionError) {
    memory.added.removeAll { $0.range == range }
    memory.regions.removeAll { range.contains($0.range.lowerBound) }
    try map(range, nil)
    try fit()
  }

  /// Lets slots and page tables say again what pieces and regions say, behind a change that has failed. Should the kernel refuse
  /// that, the guest's next access ends its run.
  private func remap(_ range: Range<UInt64>) {
    try? fitSlots()
    // Where there is no room for a table, the change that is taken back found none either, and has not got there.
    try? map(range, nil)
    for region in memory.regions {
      let part = region.range.clamped(to: range)
      if !part.isEmpty { try? map(part, region.access.isEmpty ? nil : region.access) }
    }
  }

  private func protectOwn(_ range: Range<UInt64>, _ access: Access) throws(RegionError) {
    var changed: [MemoryRegion] = []
    var covered: UInt64 = 0
    for region in memory.regions {
      let part = region.range.clamped(to: range)
      if part.isEmpty {
        changed.append(region)
        continue
      }
      covered += part.upperBound - part.lowerBound
      for (piece, pieceAccess) in [
        (region.range.lowerBound..<part.lowerBound, region.access), (part, access),
        (part.upperBound..<region.range.upperBound, region.access),
      ] where !piece.isEmpty { changed.append(MemoryRegion(range: piece, access: pieceAccess, use: region.use)) }
    }
    guard !range.isEmpty, covered == range.upperBound - range.lowerBound else { throw .missing }
    if access.contains(.execute) { cleanForExecution(range) }
    for index in memory.added.indices
    where access.contains(.write) && memory.added[index].isBorrowed && memory.added[index].range.overlaps(range) {
      memory.added[index] = try own(memory.added[index], access)
    }
    memory.regions = changed
    try map(range, access.isEmpty ? nil : access)
    try fit()
  }

  private func fit() throws(RegionError) {
    do { try fitSlots() } catch { throw .kvm(error) }
  }

  private func own(_ piece: AddedMemory, _ access: Access) throws(RegionError) -> AddedMemory {
    do { return try piece.forCopy(access, kernel: kernel) } catch { throw .kvm(error) }
  }

  private func map(_ range: Range<UInt64>, _ access: Access?) throws(RegionError) {
    do { try tables?.map(range, access.map { PageTable.Mapping($0, isUser: isSecure) }) } catch {
      throw error == .full ? .tablesFull : .tablesChanged
    }
    frame[Int(APPLET_FRAME_ON_ENTRY)] |= UInt64(APPLET_ENTRY_FENCE)
  }

  /// What this process has written there must be what the guest's instruction fetches see.
  func cleanForExecution(_ range: Range<UInt64>) {
    for region in memory.regions {
      let part = region.range.clamped(to: range)
      guard !part.isEmpty else { continue }
      let bytes = memory.bytes(at: part.lowerBound, count: Int(part.upperBound - part.lowerBound))
      linux_clean_instructions(bytes.baseAddress, bytes.count)
    }
  }
}

extension AddedMemory {
  /// What a copy of a context has in this piece's place: the same memory where the copy may not write to it, else one with equal
  /// contents.
  func forCopy(_ access: Access, kernel: any Kernel) throws(KVMError) -> AddedMemory {
    guard access.contains(.write) else { return AddedMemory(range: range, memory: memory, isBorrowed: true) }
    let copy: SharedMemory
    do { copy = try SharedMemory(count: memory.bytes.count, kernel: kernel) } catch { throw .failed(.mapMemory, error) }
    copy.copyContents(of: memory)
    return AddedMemory(range: range, memory: copy)
  }
}

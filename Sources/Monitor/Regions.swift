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
extension ExecCtx {
  /// Gives the context memory at an address; several contexts may be given the same.
  ///
  /// In lockstep, memory that the applet may write is copied for each shadow; what it may only read is shared with them.
  /// - Throws: `RegionError`; nothing has changed then.
  public func addRegion(at address: UInt64, _ shared: SharedMemory, access: Access) throws(RegionError) {
    try add(address, shared, access)
    let copies = shadows
    for index in copies.indices {
      do throws(RegionError) {
        let memory: SharedMemory
        do throws(KVMError) { memory = try shared.forCopy(access, kernel: kernel) } catch { throw .kvm(error) }
        try copies[index].add(address, memory, access)
      } catch {
        for copy in [self] + copies[..<index] { try? copy.remove(address) }
        throw error
      }
    }
  }

  /// Takes memory away that `addRegion` has given.
  /// - Parameter address: where it begins.
  public func removeRegion(at address: UInt64) throws(RegionError) {
    let copies = [self] + shadows
    for (index, copy) in copies.enumerated() {
      do { try copy.unmapAdded(address) } catch {
        for taken in copies[..<index] { taken.remapAdded(address) }
        throw error
      }
    }
    for copy in copies { copy.forget(address) }
  }

  /// Changes what the applet may do with a part of its memory; an empty access unmaps it, and keeps its contents.
  /// - Parameter range: whole pages of 4096 bytes, all in regions of the context.
  public func protect(_ range: Range<UInt64>, _ access: Access) throws(RegionError) {
    let copies = [self] + shadows
    for (index, copy) in copies.enumerated() {
      let before = copy.memory.regions
      do { try copy.change(range, to: access) } catch {
        for changed in copies[...index] {
          changed.memory.regions = before
          changed.remap(range)
        }
        throw error
      }
    }
  }

  func add(_ address: UInt64, _ shared: SharedMemory, _ access: Access) throws(RegionError) {
    let page = UInt64(linux_page_size())
    let count = UInt64(shared.bytes.count)
    guard address % page == 0, count % page == 0 else { throw .misaligned }
    guard !access.isSuperset(of: [.write, .execute]) else { throw .writableAndExecutable }
    guard address > 0, address < PageTable.addressLimit, count <= PageTable.addressLimit - address else { throw .taken }
    let range = address..<address + count
    // The doorbell's page behind the slot is taken too.
    let own = memory.slot.lowerBound..<memory.slot.upperBound + page
    guard !own.overlaps(range), !memory.added.contains(where: { $0.range.overlaps(range) }) else { throw .taken }
    let slot =
      (1...UInt32(memory.added.count + 1)).first { number in !memory.added.contains { $0.slot == number } } ?? 1
    do { try machine.setMemory(slot: slot, address: address, memory: shared.bytes) } catch { throw .kvm(error) }
    do { try map(range, access) } catch {
      // What has tables was mapped, and has them now too.
      try? map(range, nil)
      try? machine.removeMemory(slot: slot)
      throw error
    }
    memory.added.append(AddedMemory(range: range, memory: shared, slot: slot))
    let region = MemoryRegion(range: range, access: access, use: .added)
    let place = memory.regions.firstIndex { $0.range.lowerBound > address } ?? memory.regions.count
    memory.regions.insert(region, at: place)
  }

  private func remove(_ address: UInt64) throws(RegionError) {
    try unmapAdded(address)
    forget(address)
  }

  /// Takes an added piece from the guest; it is still known here.
  private func unmapAdded(_ address: UInt64) throws(RegionError) {
    guard let piece = memory.added.first(where: { $0.range.lowerBound == address }) else { throw .missing }
    try map(piece.range, nil)
    do { try machine.removeMemory(slot: piece.slot) } catch {
      remap(piece.range)
      throw .kvm(error)
    }
  }

  /// Gives the guest back what `unmapAdded` has taken. Should the kernel refuse that, the guest's next access ends its run.
  private func remapAdded(_ address: UInt64) {
    guard let piece = memory.added.first(where: { $0.range.lowerBound == address }) else { return }
    try? machine.setMemory(slot: piece.slot, address: address, memory: piece.memory.bytes)
    remap(piece.range)
  }

  /// Removes an added piece from what is known here.
  private func forget(_ address: UInt64) {
    guard let index = memory.added.firstIndex(where: { $0.range.lowerBound == address }) else { return }
    let piece = memory.added.remove(at: index)
    memory.regions.removeAll { piece.range.contains($0.range.lowerBound) }
  }

  /// Lets the page tables say what the regions say.
  private func remap(_ range: Range<UInt64>) {
    for region in memory.regions {
      let part = region.range.clamped(to: range)
      if part.isEmpty { continue }
      // Where there is no room for a table, the change that is taken back found none either, and has not got there.
      try? map(part, region.access.isEmpty ? nil : region.access)
    }
  }

  private func change(_ range: Range<UInt64>, to access: Access) throws(RegionError) {
    guard (range.lowerBound | range.upperBound) % PageTable.pageSize == 0 else { throw .misaligned }
    guard !access.isSuperset(of: [.write, .execute]) else { throw .writableAndExecutable }
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
    try map(range, access.isEmpty ? nil : access)
    memory.regions = changed
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

extension SharedMemory {
  /// The memory that a copy of a context in lockstep gets for this one: the same where no copy may write to it, else one with
  /// equal contents.
  func forCopy(_ access: Access, kernel: any Kernel) throws(KVMError) -> SharedMemory {
    guard access.contains(.write) else { return self }
    let copy: SharedMemory
    do { copy = try SharedMemory(count: bytes.count, kernel: kernel) } catch { throw .failed(.mapMemory, error) }
    copy.copyContents(of: self)
    return copy
  }
}

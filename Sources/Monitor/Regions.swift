import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

/// Why a context's memory could not be changed.
public enum RegionError: Error, Equatable {
  /// Address or size is not a multiple of the page size: the host's for added memory, 4096 bytes for `protect`.
  case misaligned
  /// It overlaps other memory, page zero, or the end of the guest's address space.
  case taken
  /// No region begins there, or the range is not completely in regions.
  case missing
  /// Memory cannot be writable and executable at the same time.
  case writableAndExecutable
  /// There are too few pages for the page tables of regions so far apart.
  case tablesFull
  /// A program in system mode has changed the page tables that it was given.
  case tablesChanged
  /// The context is a shadow: the memory of the primary must be changed instead.
  case shadow
  /// The context runs on another thread.
  case running
  /// An error of KVM.
  case kvm(KVMError)

  /// A description, in one line.
  public var description: String {
    switch self {
    case .misaligned: "address or size is not a multiple of the page size"
    case .taken: "the addresses are in use, or outside the guest's address space"
    case .missing: "there is no region at this address"
    case .writableAndExecutable: "memory cannot be writable and executable"
    case .tablesFull: "the guest's page tables are full: use fewer regions far apart"
    case .tablesChanged: "the guest has changed the page tables that the monitor made for it"
    case .shadow: "the context is a shadow: change the memory of its primary"
    case .running: ExecError.running.description
    case .kvm(let error): error.description
    }
  }
}

/// Changes of a context's memory. They are made between entries by the thread that runs the context, or while it is not
/// running. Shadows are changed, too.
///
/// The access of a program in system mode is restricted by its memory slots, which it cannot change. Its page tables,
/// which it can, are kept consistent with them. All of its CPUs are out of the guest during a change.
///
/// Memory in use by a call stays mapped in this process until the call has ended, even if it is removed meanwhile.
extension ExecCtx {
  /// Adds memory at an address. The same memory can be added to several contexts.
  ///
  /// In lockstep, memory that the applet may write is copied for each shadow; read-only memory is shared with them.
  /// - Throws: `RegionError`; nothing has changed then.
  public func addRegion(at address: UInt64, _ shared: SharedMemory, access: Access) throws(RegionError) {
    let page = UInt64(linux_page_size())
    let count = UInt64(shared.bytes.count)
    guard address % page == 0, count % page == 0 else { throw .misaligned }
    guard !access.isSuperset(of: [.write, .execute]) else { throw .writableAndExecutable }
    guard address > 0, address < PageTable.addressLimit, count <= PageTable.addressLimit - address else { throw .taken }
    let range = address..<address + count
    // The page of the doorbell, after the slot, is in use, too.
    let own = memory.slot.lowerBound..<memory.slot.upperBound + page
    guard !own.overlaps(range), !memory.added.contains(where: { $0.range.overlaps(range) }) else { throw .taken }
    let piece = AddedMemory(range: range, memory: shared)
    try change(range) { (copy) throws(RegionError) in
      try copy.add(copy === guest ? piece : try copy.own(piece, access), access)
    }
  }

  /// Removes memory that `addRegion` has added.
  /// - Parameter address: its first address.
  public func removeRegion(at address: UInt64) throws(RegionError) {
    guard let range = memory.added.first(where: { $0.range.lowerBound == address })?.range else { throw .missing }
    try change(range) { (copy) throws(RegionError) in try copy.remove(range) }
  }

  /// Changes the access of the applet to a part of its memory. An empty access unmaps the part but keeps its contents.
  /// Memory that shadows share with the context is copied for each of them before it becomes writable.
  /// - Parameter range: whole pages of 4096 bytes, or of the host's page size for a program in system mode; completely
  ///   in regions of the context.
  /// - Throws: `RegionError`; nothing has changed then.
  public func protect(_ range: Range<UInt64>, _ access: Access) throws(RegionError) {
    let page = isSecure ? PageTable.pageSize : UInt64(linux_page_size())
    guard (range.lowerBound | range.upperBound) % page == 0 else { throw .misaligned }
    guard !access.isSuperset(of: [.write, .execute]) else { throw .writableAndExecutable }
    // The monitor's memory between the regions, shim and page tables, is in no region.
    let covered = memory.regions.reduce(0) { (sum: UInt64, region) in
      let part = region.range.clamped(to: range)
      return sum + (part.upperBound - part.lowerBound)
    }
    guard !range.isEmpty, covered == range.upperBound - range.lowerBound else { throw .missing }
    try change(range) { (copy) throws(RegionError) in try copy.protectOwn(range, access) }
  }

  /// Applies a change to this context and all of its shadows, or to none, while none of its CPUs is in the guest.
  /// - Parameter range: the range that changes, in regions or unused.
  private func change(
    _ range: Range<UInt64>, _ body: (GuestMachine) throws(RegionError) -> Void
  ) throws(RegionError) {
    if let applet, applet.isShadow { throw .shadow }
    let control = guest.cpus.control
    let isHere = control.isRunningHere
    guard isHere || !control.isRunning else { throw .running }
    if let turn = applet?.turn, !isHere {
      guard turn.tryAcquire() else { throw .running }
      defer { turn.release() }
      return try changeAll(range, body)
    }
    guard let program else { return try changeAll(range, body) }
    try guest.cpus.withOthersOut(of: program.caller) { () throws(RegionError) in try changeAll(range, body) }
    // The program must be able to write to call blocks, where the monitor writes results.
    for number in program.blocks.indices where program.blocks[number] != nil {
      guard let block = program.blocks[number], (try? memory.check(block.range, for: .write)) == nil else { continue }
      program.blocks[number] = nil
    }
  }

  private func changeAll(
    _ range: Range<UInt64>, _ body: (GuestMachine) throws(RegionError) -> Void
  ) throws(RegionError) {
    let copies = guests
    // This also keeps memory that is removed alive until no slot has it.
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

}

extension GuestMachine {
  fileprivate func add(_ piece: AddedMemory, _ access: Access) throws(RegionError) {
    memory.added.append(piece)
    let place = memory.regions.firstIndex { $0.range.lowerBound > piece.range.lowerBound } ?? memory.regions.count
    memory.regions.insert(MemoryRegion(range: piece.range, access: access, use: .added), at: place)
    try fit()
    try map(piece.range, access)
  }

  fileprivate func remove(_ range: Range<UInt64>) throws(RegionError) {
    memory.added.removeAll { $0.range == range }
    memory.regions.removeAll { range.contains($0.range.lowerBound) }
    try map(range, nil)
    try fit()
  }

  /// Restores slots and page tables after a change that has failed. If the kernel rejects this, the guest's next access
  /// ends its run.
  fileprivate func remap(_ range: Range<UInt64>) {
    try? syncMemorySlots()
    // If there is no page for a table, the failed change has not written one either.
    try? map(range, nil)
    for region in memory.regions {
      let part = region.range.clamped(to: range)
      if !part.isEmpty { try? map(part, region.access.isEmpty ? nil : region.access) }
    }
  }

  fileprivate func protectOwn(_ range: Range<UInt64>, _ access: Access) throws(RegionError) {
    var changed: [MemoryRegion] = []
    for region in memory.regions {
      let part = region.range.clamped(to: range)
      if part.isEmpty {
        changed.append(region)
        continue
      }
      for (piece, pieceAccess) in [
        (region.range.lowerBound..<part.lowerBound, region.access), (part, access),
        (part.upperBound..<region.range.upperBound, region.access),
      ] where !piece.isEmpty { changed.append(MemoryRegion(range: piece, access: pieceAccess, use: region.use)) }
    }
    if access.contains(.execute) { cleanForExecution(range) }
    for index in memory.added.indices
    where access.contains(.write) && memory.added[index].isBorrowed && memory.added[index].range.overlaps(range) {
      memory.added[index] = try own(memory.added[index], access)
    }
    memory.regions = changed
    try map(range, access.isEmpty ? nil : access)
    // The CPUs of a program may hold translations of its page tables: KVM invalidates them with the slot.
    try fit(renewing: isUserMode ? 0..<0 : range)
  }

  private func fit(renewing range: Range<UInt64> = 0..<0) throws(RegionError) {
    do { try syncMemorySlots(renewing: range) } catch { throw .kvm(error) }
  }

  fileprivate func own(_ piece: AddedMemory, _ access: Access) throws(RegionError) -> AddedMemory {
    do { return try piece.forCopy(access, kernel: kernel) } catch { throw .kvm(error) }
  }

  private func map(_ range: Range<UInt64>, _ access: Access?) throws(RegionError) {
    do { try tables?.map(range, access.map { PageTable.Mapping($0, isUser: isUserMode) }) } catch {
      throw error == .full ? .tablesFull : .tablesChanged
    }
    frame[Int(APPLET_FRAME_ON_ENTRY)] |= UInt64(APPLET_ENTRY_FENCE)
  }

  /// Makes code that this process has written visible to the guest's instruction fetches.
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
  /// The memory for a shadow: the same memory if the shadow may not write to it, otherwise a copy.
  func forCopy(_ access: Access, kernel: any Kernel) throws(KVMError) -> AddedMemory {
    guard access.contains(.write) else { return AddedMemory(range: range, memory: memory, isBorrowed: true) }
    let copy: SharedMemory
    do { copy = try SharedMemory(count: memory.bytes.count, kernel: kernel) } catch { throw .failed(.mapMemory, error) }
    copy.copyContents(of: memory)
    return AddedMemory(range: range, memory: copy)
  }
}

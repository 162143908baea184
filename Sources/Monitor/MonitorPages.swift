import Applet
import AppletABI
import KVM
import Machine
import Platform

extension GuestMemory {
  /// Writes what the monitor puts behind the applet's memory: shim and page tables.
  func writeMonitorPages(architecture: Architecture, transport: ExecCtx.Transport) -> PageTable {
    let shim = architecture.shim
    let page = bytes(at: layout.shim, count: Int(PageTable.pageSize))
    shim.withUnsafeBytes { page.copyMemory(from: $0) }
    if transport == .mmio {
      page.storeBytes(of: ARM64.shimDoorbellStore, toByteOffset: ARM64.shimLeave * 4, as: UInt32.self)
    }
    var tables = PageTable(
      architecture: architecture, arena: bytes(at: layout.tables.lowerBound, count: layout.tables.count),
      physical: layout.tables.lowerBound)
    func map(_ range: Range<UInt64>, _ mapping: PageTable.Mapping) {
      // The layout's arena has room for every page of its memory.
      do { try tables.map(range, mapping) } catch { preconditionFailure("the layout's arena is too small") }
    }
    for region in regions { map(region.range, PageTable.Mapping(region.access)) }
    map(layout.shim..<layout.frame, PageTable.Mapping([.read, .execute], isUser: false))
    map(layout.frame..<layout.tables.lowerBound, PageTable.Mapping([.read, .write], isUser: false))
    if transport == .mmio {
      map(
        layout.doorbell..<layout.doorbell + PageTable.pageSize,
        PageTable.Mapping([.read, .write], isUser: false, isDevice: true))
    }
    return tables
  }
}

extension System {
  /// Bits of a guest-physical address: what the host gives a machine by default.
  borrowing func addressBits(of architecture: Architecture) -> Int {
    switch architecture {
    // KVM_CREATE_VM with type 0 means 40 bits, and fails where the host has fewer (api.rst 4.2).
    case .arm64: 40
    // Sv39x4, the least that a host can have, translates 41 bits.
    case .riscv64: 41
    }
  }
}

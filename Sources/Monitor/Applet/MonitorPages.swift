import Applet
import KVM
import Machine
import Platform

extension GuestMemory {
  /// Writes the shim and the page tables, which the applet cannot access, into the memory above the applet's.
  func writeMonitorPages(architecture: Architecture, transport: ExecCtx.Transport) -> PageTable {
    let shim = architecture.shim
    let page = bytes(at: layout.shim, count: Int(PageTable.pageSize))
    shim.withUnsafeBytes { page.copyMemory(from: $0) }
    if transport == .mmio {
      page.storeBytes(of: ARM64.shimDoorbellStore, toByteOffset: ARM64.shimCall, as: UInt32.self)
    }
    var tables = PageTable(
      architecture: architecture, arena: bytes(at: layout.tables.lowerBound, count: layout.tables.count),
      physical: layout.tables.lowerBound)
    func map(_ range: Range<UInt64>, _ mapping: PageTable.Mapping) {
      // The layout reserves enough memory for the tables of all of its pages.
      do { try tables.map(range, mapping) } catch { preconditionFailure("the layout has too few pages for tables") }
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
  /// The maximum number of vCPUs of a guest: four if the kernel does not say (KVM API, 4.7).
  var maxCPUs: Int {
    let said = check(.maximumVCPUs)
    return max(said > 0 ? said : 4, 1)
  }
}

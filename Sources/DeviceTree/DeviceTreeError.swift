import CLibFDT

/// Why a device tree could not be written, read or changed.
public enum DeviceTreeError: Error, Equatable {
  /// It needs more bytes than there is room for.
  case noRoom(bytes: Int)
  /// libfdt refused: a negative number of its own (FDT_ERR_…).
  case library(Int32)

  /// What happened, in words that go behind the name of what it happened to.
  public var description: String {
    switch self {
    case .noRoom(let bytes): "the device tree does not fit \(bytes) bytes: give it fewer or shorter arguments"
    case .library(let code): "the device tree library refuses: \(Self.words(code))"
    }
  }

  /// libfdt's own words for an error number of its.
  static func words(_ code: Int32) -> String { String(cString: fdt_strerror(code)) }
}

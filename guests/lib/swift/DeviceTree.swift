import CApplet

/// The applet's flattened device tree.
public struct DeviceTree {
  private let start: UnsafeRawPointer

  /// nil if the monitor has passed none.
  public init?() {
    guard let region = Region.first(.deviceTree), let start = UnsafeRawPointer(bitPattern: UInt(region.start)) else {
      return nil
    }
    self.start = start
  }

  /// A property's bytes in the tree; numbers are big-endian. nil if there is none.
  /// - Parameter path: of its node, without unit addresses: "/memory".
  public func property(_ name: StaticString, of path: StaticString) -> UnsafeBufferPointer<UInt8>? {
    var length = 0
    guard let value = tree_property(start, Self.text(path), Self.text(name), &length) else { return nil }
    return UnsafeBufferPointer(start: value.assumingMemoryBound(to: UInt8.self), count: length)
  }

  /// Passes the body all arguments in the tree. In a tree that the user supplied they may differ from those of the call.
  public func withArguments<Result>(_ body: (borrowing Arguments) -> Result) -> Result {
    let empty = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    return body(Arguments(bytes: property("swiftlet,arguments", of: "/hypervisor") ?? empty))
  }

  /// A static string ends with a zero byte and is never freed.
  private static func text(_ string: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(string.utf8Start).assumingMemoryBound(to: CChar.self)
  }
}

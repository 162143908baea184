import CApplet

/// The flattened device tree that the applet was given.
public struct DeviceTree {
  private let start: UnsafeRawPointer

  /// nil where the monitor gave it none.
  public init?() {
    guard let region = Region.first(.deviceTree), let start = UnsafeRawPointer(bitPattern: UInt(region.start)) else {
      return nil
    }
    self.start = start
  }

  /// A property's bytes, numbers being big-endian; nil where there is none. They stay where they are.
  /// - Parameter path: of its node, without unit addresses: "/memory".
  public func property(_ name: StaticString, of path: StaticString) -> UnsafeBufferPointer<UInt8>? {
    var length = 0
    guard let value = tree_property(start, Self.text(path), Self.text(name), &length) else { return nil }
    return UnsafeBufferPointer(start: value.assumingMemoryBound(to: UInt8.self), count: length)
  }

  /// Hands the body the arguments that the tree tells, all of them; what a tree of the user's says may differ from the call.
  public func withArguments<Result>(_ body: (borrowing Arguments) -> Result) -> Result {
    let empty = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    return body(Arguments(bytes: property("swiftlet,arguments", of: "/hypervisor") ?? empty))
  }

  /// A static string has a zero byte behind it, and stays.
  private static func text(_ string: StaticString) -> UnsafePointer<CChar> {
    UnsafeRawPointer(string.utf8Start).assumingMemoryBound(to: CChar.self)
  }
}

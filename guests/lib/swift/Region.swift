import CApplet

/// A range of the applet's memory with one kind of access.
public struct Region {
  /// enum applet_region_use; later monitors may add values.
  public enum Use: UInt64 {
    case image, heap, stack, added, deviceTree
  }

  /// The address of the first byte, and of the first byte after the region.
  public let start: UInt64
  public let end: UInt64
  public let isReadable: Bool
  public let isWritable: Bool
  public let isExecutable: Bool
  public let use: Use?

  init(_ region: applet_region) {
    start = region.start
    end = region.start + region.length
    isReadable = region.access & UInt64(APPLET_REGION_READ) != 0
    isWritable = region.access & UInt64(APPLET_REGION_WRITE) != 0
    isExecutable = region.access & UInt64(APPLET_REGION_EXECUTE) != 0
    use = Use(rawValue: region.use)
  }

  /// The first region with this use.
  public static func first(_ use: Use) -> Region? {
    var index: UInt64 = 0
    while let region = try? Calls.region(index) {
      if region.use == use { return region }
      index += 1
    }
    return nil
  }
}

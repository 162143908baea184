import Machine
import Platform

/// An applet's ELF file, read whole and checked: whatever this type hands out is safe to load.
///
/// Format: System V ABI, "Object Files" and "Program Loading", for 64-bit little-endian executables.
public struct AppletImage: ~Copyable {
  /// A loadable part of the file.
  public struct Segment: Equatable, Sendable {
    /// Where it begins in guest memory.
    public let address: UInt64
    /// Bytes it covers there; those beyond its content are zero.
    public let size: UInt64
    /// Its bytes in the file; not more than `size`.
    public let content: Range<Int>
    /// What the applet may do with it.
    public let access: Access

    /// The pages that it covers.
    public var pages: Range<UInt64> {
      let page = PageTable.pageSize
      return address / page * page..<(address + size + page - 1) / page * page
    }
  }

  /// Address of the first instruction.
  public let entry: UInt64
  /// By ascending address; at least one, and no two of them share a page.
  public let segments: [Segment]
  /// Added to every address in the file: `baseOfPIE` for position-independent images, else 0.
  public let bias: UInt64

  package let file: FileContents

  /// Most bytes that a file may have.
  public static let sizeLimit = 256 << 20
  /// Where position-independent images are placed.
  public static let baseOfPIE: UInt64 = 0x8000_0000

  /// First and last-plus-one address that any segment covers.
  public var range: Range<UInt64> {
    let last = segments[segments.count - 1]
    return segments[0].address..<last.address + last.size
  }

  /// Reads and checks a file.
  /// - Parameters:
  ///   - path: of a regular file of at most `sizeLimit` bytes.
  ///   - architecture: whose instructions the file must hold.
  /// - Throws: `ImageError`; `.unreadable` where the file system refuses.
  public init(path: String, architecture: Architecture, kernel: any Kernel) throws(ImageError) {
    let file: FileContents
    do { file = try FileContents(path: path, limit: Self.sizeLimit, kernel: kernel) } catch { throw .unreadable(error) }
    try self.init(file, architecture: architecture)
  }

  /// Reads and checks a file that is open already.
  /// - Throws: `ImageError`; `.unreadable` where the file system refuses.
  public init(_ file: consuming OwnedFD, architecture: Architecture) throws(ImageError) {
    let contents: FileContents
    do { contents = try FileContents(file, limit: Self.sizeLimit) } catch { throw .unreadable(error) }
    try self.init(contents, architecture: architecture)
  }

  /// Checks a file's contents.
  /// - Throws: `ImageError`, never `.unreadable`.
  public init(_ file: consuming FileContents, architecture: Architecture) throws(ImageError) {
    let checked = try ELFFile(file.bytes, architecture: architecture).load()
    entry = checked.entry
    segments = checked.segments
    bias = checked.bias
    self.file = file
  }

  /// Gives up the image for the names in it.
  public consuming func intoSymbols() -> Symbols { Symbols(file, bias: bias) }
}

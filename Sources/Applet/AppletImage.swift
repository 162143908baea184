import AppletABI
import Machine
import Platform

/// An applet's ELF file, read and checked: its segments are safe to load.
///
/// Format: System V ABI, "Object Files" and "Program Loading", for 64-bit little-endian executables, and for those of 32-bit Arm
/// (EABI version 5), on arm64.
public struct AppletImage: ~Copyable {
  /// A loadable segment (PT_LOAD).
  public struct Segment: Equatable, Sendable {
    /// Its address in guest memory.
    public let address: UInt64
    /// Its size in memory, in bytes; the bytes after `content` are zero.
    public let size: UInt64
    /// Its bytes in the file; at most `size`.
    public let content: Range<Int>
    /// The applet's access to it.
    public let access: Access

    /// The pages that it overlaps.
    public var pages: Range<UInt64> {
      let page = PageTable.pageSize
      return address / page * page..<(address + size + page - 1) / page * page
    }
  }

  /// The architecture that it was built for.
  public let architecture: Architecture
  /// Address of the first instruction; in AArch32 with bit 0 set for T32.
  public let entry: UInt64
  /// By ascending address; at least one, and no two share a page.
  public let segments: [Segment]
  /// What the file says about itself.
  public let notes: ImageNotes
  /// Added to every address in the file: `baseOfPIE` for position-independent images, else 0.
  public let bias: UInt64

  package let file: FileContents

  /// Maximum size of a file, in bytes.
  public static let sizeLimit = 256 << 20
  /// Maximum size, in bytes, of a file that is read completely, by one call. Of a larger file, only segments and symbols are read.
  private static let wholeSize = 1 << 20
  /// Load address of position-independent images.
  public static let baseOfPIE: UInt64 = 0x8000_0000

  /// The range from the lowest to the highest address of the segments.
  public var range: Range<UInt64> {
    let last = segments[segments.count - 1]
    return segments[0].address..<last.address + last.size
  }

  /// Reads and checks a file.
  /// - Parameters:
  ///   - path: of a regular file of at most `sizeLimit` bytes.
  ///   - architecture: the host's.
  /// - Throws: `ImageError`; `.unreadable` for an error of the kernel.
  public init(path: String, architecture: Architecture, kernel: any Kernel) throws(ImageError) {
    let file: OwnedFD
    do { file = try FileContents.open(path, kernel: kernel) } catch { throw .unreadable(error) }
    try self.init(file, architecture: architecture)
  }

  /// Reads and checks a file that is open already.
  /// - Throws: `ImageError`; `.unreadable` for an error of the kernel.
  public init(_ file: consuming OwnedFD, architecture: Architecture) throws(ImageError) {
    let contents: FileContents
    do { contents = try FileContents(file, limit: Self.sizeLimit, head: Self.wholeSize) } catch {
      throw .unreadable(error)
    }
    try self.init(contents, architecture: architecture)
  }

  /// Checks a file's contents.
  /// - Throws: `ImageError`; `.unreadable` only if parts of the file are still to be read.
  public init(_ file: consuming FileContents, architecture: Architecture) throws(ImageError) {
    var file = file
    // The bytes have a stable address, even if the value that owns them moves.
    let elf = try ELFFile(file.bytes, architecture: architecture)
    if !file.isWhole {
      do { try file.read([elf.programHeaders]) } catch { throw .unreadable(error) }
    }
    let loaded = try elf.load()
    if !file.isWhole {
      do { try file.read(loaded.segments.map { $0.content } + loaded.dynamic + loaded.notes) } catch {
        throw .unreadable(error)
      }
    }
    for content in loaded.dynamic { try elf.checkDynamic(content) }
    var notes = loaded.notes.isEmpty ? ImageNotes() : try ImageNotes(file.bytes, loaded.notes)
    // TamaGo's linker has a segment for the first of its sections of notes only, which is not that of the build ID.
    if !loaded.notes.isEmpty, notes == ImageNotes(), let headers = elf.sectionHeaders {
      do { if !file.isWhole { try file.read([headers]) } } catch { throw .unreadable(error) }
      let sections = elf.noteSections(headers)
      do { if !file.isWhole { try file.read(sections) } } catch { throw .unreadable(error) }
      notes = try ImageNotes(file.bytes, sections)
    }
    try Self.checkVersion(notes, loaded, file.bytes, elf.architecture)
    self.notes = notes
    self.architecture = elf.architecture
    entry = loaded.entry
    segments = loaded.segments
    bias = loaded.bias
    self.file = file
  }

  /// Refuses an image that was built for another version of the ABI. Those of version 1 have no note, but its start-up code.
  private static func checkVersion(
    _ notes: ImageNotes, _ loaded: ELFFile.Loaded, _ file: UnsafeRawBufferPointer, _ architecture: Architecture
  ) throws(ImageError) {
    if let abi = notes.abi {
      guard abi == UInt32(APPLET_ABI_MAJOR) else { throw .abi(found: abi) }
      return
    }
    guard let start = architecture.facts.version1Start,
      let text = loaded.segments.first(where: { $0.pages.contains(loaded.entry) })
    else { return }
    // The entry is within the segment, whose size is limited by the file's where it counts.
    let offset = loaded.entry - text.address
    guard offset < UInt64(text.content.count), text.content.count - Int(offset) >= start.offset + 16 else { return }
    let code = text.content.lowerBound + Int(offset) + start.offset
    guard
      file.loadUnaligned(fromByteOffset: code, as: UInt64.self) != start.code.0
        || file.loadUnaligned(fromByteOffset: code + 8, as: UInt64.self) != start.code.1
    else { throw .abi(found: 1) }
  }

  /// Replaces the image by its symbols, and releases all other memory of a large file.
  public consuming func intoSymbols() -> Symbols { Symbols(file, bias: bias) }
}

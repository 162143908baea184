import AppletABI
import Machine

/// What the notes of an ELF file say about the program (PT_NOTE; System V ABI, "Note Section").
public struct ImageNotes: Equatable, Sendable {
  /// Whether Go's linker made the file: it has a note of type 4, the build ID, of the owner "Go"
  /// (cmd/link/internal/ld/elf.go, `ELF_NOTE_GOBUILDID_TAG`).
  public internal(set) var isGo = false
  /// The major version of the ABI that it was built for (APPLET_NOTE_ABI); nil if it does not say.
  public internal(set) var abi: UInt32?
  /// The layout that it asks for: that of its own note (APPLET_NOTE_LAYOUT), or `.contiguous` for Go, whose heap is all memory
  /// between its variables and its stack; nil if it does not say.
  public var layout: SecureLayout.Kind? { ownLayout ?? (isGo ? .contiguous : nil) }
  private var ownLayout: SecureLayout.Kind?

  /// Maximum size, in bytes, of a segment of notes; more of it is not read.
  static let sizeLimit = 4096

  /// No notes.
  init() {}

  /// Reads the notes in these ranges of a file. A range that holds no notes is ignored, as most programs ignore it.
  /// - Throws: `ImageError.unknownLayout`.
  init(_ file: UnsafeRawBufferPointer, _ ranges: [Range<Int>]) throws(ImageError) {
    for range in ranges { try read(UnsafeRawBufferPointer(rebasing: file[range])) }
  }

  private mutating func read(_ bytes: UnsafeRawBufferPointer) throws(ImageError) {
    var at = 0
    while at <= bytes.count - 12 {
      func word(_ offset: Int) -> UInt32 { bytes.loadUnaligned(fromByteOffset: at + offset, as: UInt32.self) }
      let (nameSize, size, type) = (Int(word(0)), Int(word(4)), word(8))
      let name = at + 12
      // Sizes of 32 bits: these sums do not overflow.
      let start = name + (nameSize + 3) / 4 * 4
      guard start + size <= bytes.count else { return }
      let owner = UnsafeRawBufferPointer(rebasing: bytes[name..<name + nameSize])
      // Go's linker counts the padding.
      if type == 4, Self.isName(owner, "Go\0") { isGo = true }
      if size >= 4, Self.isName(owner, "Swiftlet") {
        try take(type, bytes.loadUnaligned(fromByteOffset: start, as: UInt32.self))
      }
      at = start + (size + 3) / 4 * 4
    }
  }

  private static func isName(_ bytes: UnsafeRawBufferPointer, _ name: StaticString) -> Bool {
    // A static string ends with a zero byte.
    bytes.elementsEqual(UnsafeRawBufferPointer(start: name.utf8Start, count: name.utf8CodeUnitCount + 1))
  }

  /// Takes a note of Swiftlet's own.
  private mutating func take(_ type: UInt32, _ value: UInt32) throws(ImageError) {
    switch Int32(truncatingIfNeeded: type) {
    case APPLET_NOTE_ABI: abi = value
    case APPLET_NOTE_LAYOUT:
      switch Int32(truncatingIfNeeded: value) {
      case APPLET_LAYOUT_COMPACT: ownLayout = .compact
      case APPLET_LAYOUT_CONTIGUOUS: ownLayout = .contiguous
      default: throw .unknownLayout(value)
      }
    default: break
    }
  }
}

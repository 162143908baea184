import Machine
import Platform

/// Why a file cannot be run as an applet.
public enum ImageError: Error, Equatable {
  case unreadable(Errno)
  case notELF
  case not64Bit
  case bigEndian
  case machine(found: UInt16, expected: Architecture)
  case notExecutable(type: UInt16)
  case dynamicallyLinked
  case truncated(Part)
  case headerSize
  case tooManyHeaders(Int)
  case noSegments
  /// Segments by their number among the program headers.
  case moreFileThanMemory(Int)
  case wraps(Int)
  case writableAndExecutable(Int)
  /// Two segments by their addresses.
  case overlap(UInt64, UInt64)
  case sharedPage(UInt64, UInt64)
  /// The entry point, as the file has it.
  case entry(UInt64)
  /// The image and its stack do not fit the memory that the applet gets.
  case layout(SecureLayout.Problem, memory: UInt64)

  /// A part of a file that ends before it should.
  public enum Part: Equatable, Sendable {
    case fileHeader, programHeaders, segment(Int)
  }

  /// Whether the file could not be read at all, as against being no applet.
  public var isUnreadable: Bool {
    if case .unreadable = self { true } else { false }
  }

  /// What is wrong and what to do, in one line that goes behind the file's name.
  public var description: String {
    switch self {
    case .unreadable(Errno.invalid): "not a regular file: give the path of an ELF file"
    case .unreadable(let errno) where errno == Errno.tooBig:
      "larger than \(AppletImage.sizeLimit >> 20) MiB: strip its debug information"
    case .unreadable(let errno): "cannot be read: \(errno.description)"
    case .notELF: "not an ELF file: give an executable that was linked for bare metal"
    case .not64Bit: "a 32-bit ELF file: build it for a 64-bit target"
    case .bigEndian: "a big-endian ELF file: build it for a little-endian target"
    case .machine(let found, let expected):
      "built for \(Self.machineName(found)), and this host runs \(expected.name): build it for \(expected.name)"
    case .notExecutable(let type):
      "an ELF file of type \(type), not an executable: link it statically (type EXEC, or static PIE)"
    case .dynamicallyLinked: "dynamically linked, and a guest has no libraries: link it with -static"
    case .truncated(let part):
      "truncated: it ends before \(Self.partName(part)) \(part == .programHeaders ? "do" : "does"): copy or build it again"
    case .headerSize: "its program headers are not of the size that the ELF format has: build it again"
    case .tooManyHeaders(let count):
      "has \(count) program headers, more than the 128 that are looked at: link it with fewer"
    case .noSegments: "has nothing to load: link it into an executable"
    case .moreFileThanMemory(let number):
      "segment \(number) has more bytes in the file than in memory: build it again"
    case .wraps(let number): "segment \(number) runs past the end of the address space: link it at a lower address"
    case .writableAndExecutable(let number):
      "segment \(number) is writable and executable: link with separate segments (-z separate-code, no -N)"
    case .overlap(let first, let second):
      "the segments at \(hex(first)) and \(hex(second)) overlap: mend the linker script"
    case .sharedPage(let first, let second):
      "the segments at \(hex(first)) and \(hex(second)) share a page: align them to 4096 in the linker script"
    case .entry(let address):
      "its entry point \(hex(address)) is in no executable segment: set ENTRY in the linker script"
    case .layout(.zeroPage, _): "a segment starts in page zero, which stays unmapped: link it at 0x1000 or above"
    case .layout(.needsMemory(let least), _) where least > SecureLayout.mostMemory:
      "its segments do not fit \(SecureLayout.mostMemory >> 30) GiB, the most memory an applet can have: mend the linker script"
    case .layout(.needsMemory(let least), let memory):
      "its segments do not fit \(memory >> 10) KiB of memory with a stack: give it --memory \((least + 1023) >> 10)K or more"
    case .layout(.beyondAddressSpace(let limit), _):
      "its memory would end beyond \(hex(limit)), the last address of a guest here: link it lower or give it less --memory"
    }
  }

  private static func partName(_ part: Part) -> String {
    switch part {
    case .fileHeader: "its file header"
    case .programHeaders: "its program headers"
    case .segment(let number): "segment \(number)"
    }
  }

  private static func machineName(_ machine: UInt16) -> String {
    switch machine {
    case 3: "x86"
    case 40: "32-bit ARM"
    case 62: "x86_64"
    case 183: "arm64"
    case 243: "riscv64"
    default: "another processor (ELF machine \(machine))"
    }
  }
}

/// A number as addresses are written.
package func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

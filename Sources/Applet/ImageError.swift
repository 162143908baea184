import AppletABI
import Machine
import Platform

/// Why a file cannot be run as an applet.
public enum ImageError: Error, Equatable, CustomStringConvertible {
  /// The file cannot be read.
  case unreadable(Errno)
  /// The file does not begin with the magic number of ELF.
  case notELF
  /// An ELF file of class ELFCLASS32.
  case not64Bit
  /// 32-bit Arm of another ABI than EABI version 5.
  case oldABI
  /// A program of 32 bits for system mode.
  case narrowProgram
  /// An ELF file with ELFDATA2MSB.
  case bigEndian
  /// An ELF file for another machine (`e_machine`).
  case machine(found: UInt16, expected: Architecture)
  /// The file is neither an executable nor a static PIE (`e_type`).
  case notExecutable(type: UInt16)
  /// An image that needs shared libraries (PT_INTERP, DT_NEEDED).
  case dynamicallyLinked
  /// The file is shorter than its headers say.
  case truncated(Part)
  /// The size of a program header is not that of ELF64 (`e_phentsize`).
  case headerSize
  /// More program headers than the maximum.
  case tooManyHeaders(Int)
  /// There is no PT_LOAD segment with a size.
  case noSegments
  /// A segment, by its program header's index, has more bytes in the file than in memory.
  case moreFileThanMemory(Int)
  /// A segment, by its program header's index, exceeds the address space.
  case wraps(Int)
  /// A segment, by its program header's index, is writable and executable.
  case writableAndExecutable(Int)
  /// Two segments overlap, with their addresses.
  case overlap(UInt64, UInt64)
  /// Two segments share a page, with their addresses.
  case sharedPage(UInt64, UInt64)
  /// The entry point, as an address in the file.
  case entry(UInt64)
  /// Built for another major version of the applet ABI.
  case abi(found: UInt32)
  /// Its note asks for a layout that does not exist (APPLET_NOTE_LAYOUT).
  case unknownLayout(UInt32)
  /// The image and its stack do not fit the applet's memory.
  case layout(SecureLayoutError, memory: UInt64)

  /// The part where a file is truncated.
  public enum Part: Equatable, Sendable {
    /// A header, or the contents of a segment, by its program header's index.
    case fileHeader, programHeaders, segment(Int)
  }

  /// Whether the file cannot be read, rather than is not a valid image.
  public var isUnreadable: Bool {
    if case .unreadable = self { true } else { false }
  }

  /// The error and its remedy, in one line, without the file's name.
  public var description: String {
    switch self {
    case .unreadable(Errno.invalid): "not a regular file: give the path of an ELF file"
    case .unreadable(let errno) where errno == Errno.tooBig:
      "larger than \(AppletImage.sizeLimit >> 20) MiB: strip its debug information"
    case .unreadable(let errno): "cannot be read: \(errno.description)"
    case .notELF: "not an ELF file: give an executable linked for bare metal"
    case .not64Bit: "a 32-bit ELF file: build it for a 64-bit target"
    case .oldABI: "built for an old ABI of 32-bit Arm: build it for EABI version 5, as armv7a-none-eabi"
    case .narrowProgram:
      "built for 32-bit Arm, which has no system mode here: build it for arm64, or run it as an applet"
    case .bigEndian: "a big-endian ELF file: build it for a little-endian target"
    case .machine(let found, let expected):
      "built for \(Self.machineName(found)), but the host is \(expected.name): build it for \(expected.name)"
    case .notExecutable(let type):
      "an ELF file of type \(type), not an executable: link it statically (type EXEC, or static PIE)"
    case .dynamicallyLinked: "dynamically linked, but a guest has no libraries: link it with -static"
    case .truncated(let part):
      "truncated: it ends before \(Self.partName(part)) \(part == .programHeaders ? "do" : "does"): copy or build it again"
    case .headerSize: "its program headers have a wrong size: build it again"
    case .tooManyHeaders(let count):
      "has \(count) program headers, more than the maximum of 128: link it with fewer"
    case .noSegments: "has no loadable segment: link it into an executable"
    case .moreFileThanMemory(let number):
      "segment \(number) has more bytes in the file than in memory: build it again"
    case .wraps(let number): "segment \(number) extends past the end of the address space: link it at a lower address"
    case .writableAndExecutable(let number):
      "segment \(number) is writable and executable: link with separate segments (-z separate-code, no -N)"
    case .overlap(let first, let second):
      "the segments at \(hex(first)) and \(hex(second)) overlap: correct the linker script"
    case .sharedPage(let first, let second):
      "the segments at \(hex(first)) and \(hex(second)) share a page: align them to 4096 in the linker script"
    case .entry(let address):
      "its entry point \(hex(address)) is in no executable segment: set ENTRY in the linker script"
    case .abi(let found) where found < UInt32(APPLET_ABI_MAJOR):
      "built for version \(found) of the applet ABI, and this is version \(APPLET_ABI_MAJOR): build it again with its libraries"
    case .abi(let found):
      "built for version \(found) of the applet ABI, and this is version \(APPLET_ABI_MAJOR): use a newer Swiftlet"
    case .unknownLayout(let number):
      "its note asks for memory layout \(number), which this version does not have: give 0 or 1, or use a newer Swiftlet"
    case .layout(.zeroPage, _): "a segment starts in page zero, which is never mapped: link it at 0x1000 or above"
    case .layout(.needsMemory(let needed), _) where needed > SecureLayout.maxMemory:
      "its segments do not fit \(SecureLayout.maxMemory >> 30) GiB, the maximum memory of an applet: correct the linker script"
    case .layout(.needsMemory(let needed), let memory):
      "its segments do not fit \(memory >> 10) KiB of memory with a stack: use --memory \((needed + 1023) >> 10)K or more"
    case .layout(.hostPage(let bytes), _): SecureLayoutError.hostPage(bytes).description
    case .layout(.beyondAddressSpace(let limit), _):
      "its memory would end beyond \(hex(limit)), the highest guest address on this host: link it lower or reduce --memory"
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
    case Architecture.aarch32.facts.elfMachine: "32-bit Arm"
    case 62: "x86_64"
    case Architecture.arm64.facts.elfMachine: "arm64"
    case Architecture.riscv64.facts.elfMachine: "riscv64"
    default: "another architecture (ELF machine \(machine))"
    }
  }
}

/// An address in hexadecimal.
package func hex(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

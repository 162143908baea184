import CLinux
import Platform

/// The kernel's counters of a vCPU's exits, which it keeps for every vCPU.
public struct ExitCounts: Equatable, Sendable {
  /// A counter of some exits.
  public struct Kind: Equatable, Sendable {
    /// The kernel's name without "exit" and "stat": "wfi", "mmio_user".
    public let name: String
    /// Their number.
    public let count: UInt64
  }

  /// The number of all exits of the guest; nil if the kernel does not count them.
  public private(set) var all: UInt64?
  /// The counters of kinds. They may overlap, and not every exit is of one of them.
  public private(set) var kinds: [Kind] = []

  /// Reads the counters from the contents of a descriptor of KVM_GET_STATS_FD (api.rst 4.133): struct kvm_stats_header, of whose
  /// offsets each is checked.
  package init(_ bytes: UnsafeRawBufferPointer) {
    func load<Value: FixedWidthInteger & BitwiseCopyable>(_ at: Int, _ type: Value.Type) -> Int? {
      guard at >= 0, at <= bytes.count - MemoryLayout<Value>.size else { return nil }
      return Int(truncatingIfNeeded: bytes.loadUnaligned(fromByteOffset: at, as: type))
    }
    guard let nameSize = load(4, UInt32.self), let count = load(8, UInt32.self),
      let descriptors = load(16, UInt32.self),
      let data = load(20, UInt32.self), nameSize <= 256, count <= 1024
    else { return }
    for index in 0..<count {
      // struct kvm_stats_desc: flags, exponent, size, offset, bucket_size, name.
      let at = descriptors + index * (Self.descriptorSize + nameSize)
      guard let flags = load(at, UInt32.self), let size = load(at + 6, UInt16.self),
        let offset = load(at + 8, UInt32.self),
        at + Self.descriptorSize + nameSize <= bytes.count,
        // KVM_STATS_TYPE_CUMULATIVE: a number that only grows.
        flags & 15 == 0, size == 1, data + offset <= bytes.count - 8
      else { continue }
      let name = bytes[(at + Self.descriptorSize)..<(at + Self.descriptorSize + nameSize)].prefix { $0 != 0 }
      let value = bytes.loadUnaligned(fromByteOffset: data + offset, as: UInt64.self)
      if name.elementsEqual("exits".utf8) {
        all = value
      } else if let kind = Self.kind(Array(name)) {
        kinds.append(Kind(name: kind, count: value))
      }
    }
  }

  private static let descriptorSize = 16

  /// Names are like "wfi_exit_stat", "mmio_exit_user" and "signal_exits" (arch/arm64/kvm/guest.c, arch/riscv/kvm/vcpu.c).
  /// - Returns: nil for a counter of something else.
  private static func kind(_ name: [UInt8]) -> String? {
    let words = name.split(separator: UInt8(ascii: "_"))
    let rest = words.filter {
      !$0.elementsEqual("exit".utf8) && !$0.elementsEqual("exits".utf8) && !$0.elementsEqual("stat".utf8)
    }
    guard rest.count < words.count, !rest.isEmpty else { return nil }
    return rest.reduce("") { ($0.isEmpty ? "" : $0 + "_") + String(decoding: $1, as: UTF8.self) }
  }
}

extension ExitCounts {
  /// Reads the counters of a vCPU.
  init(of descriptor: borrowing OwnedFD) throws(KVMError) {
    // The contents are read by a system call that other kernels do not have.
    guard descriptor.kernel.isLinux else { throw .failed(.getStatistics, .notSupported) }
    let number = Int32(truncatingIfNeeded: try descriptor.call(.getStatistics, LINUX_KVM_GET_STATS_FD))
    let file = OwnedFD(adopting: number, kernel: descriptor.kernel)
    var bytes = [UInt8](repeating: 0, count: 16 << 10)
    let result = bytes.withUnsafeMutableBytes { linux_read(file.number, $0.baseAddress, $0.count) }
    if let errno = Errno(result: result) { throw .failed(.getStatistics, errno) }
    self = bytes.withUnsafeBytes { ExitCounts(UnsafeRawBufferPointer(rebasing: $0[..<result])) }
  }
}

import CLinux
import CZlib
import Foundation
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// Linux kernels in files, plain and compressed.
struct KernelImageTests {
  /// A kernel: a header, and bytes that compress to about a third.
  private static let kernel: [UInt8] = {
    var random = SeededGenerator(seed: 1)
    var bytes = (0..<200_000).map { _ in UInt8.random(in: 0..<6, using: &random) }
    bytes.replaceSubrange(0..<64, with: repeatElement(0, count: 64))
    bytes.replaceSubrange(16..<20, with: [0, 0, 0x10, 0])  // 1 MiB in memory
    bytes.replaceSubrange(56..<60, with: Array("ARMd".utf8))
    return bytes
  }()

  private static let compressed: [UInt8] = {
    let path = FileManager.default.temporaryDirectory.path + "/swiftlet-gzip-\(UUID().uuidString)"
    defer { unlink(path) }
    let file = gzopen(path, "wb")
    kernel.withUnsafeBytes { _ = gzwrite(file, $0.baseAddress, UInt32($0.count)) }
    gzclose(file)
    return FileManager.default.contents(atPath: path).map { Array($0) } ?? []
  }()

  /// The same in an executable that decompresses itself under UEFI.
  private static func zboot(_ payload: [UInt8], offset: UInt32 = 512, size: UInt32? = nil) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 512)
    bytes.replaceSubrange(0..<8, with: Array("MZ\0\0zimg".utf8))
    bytes.withUnsafeMutableBytes {
      $0.storeBytes(of: offset, toByteOffset: 8, as: UInt32.self)
      $0.storeBytes(of: size ?? UInt32(payload.count), toByteOffset: 12, as: UInt32.self)
    }
    bytes.replaceSubrange(24..<28, with: Array("gzip".utf8))
    return bytes + payload + [1, 2, 3]
  }

  /// The result of loading a file into memory of this size: the kernel's bytes, or the error.
  private static func load(_ file: [UInt8], _ architecture: Architecture = .arm64, memory: Int = 1 << 20) throws
    -> Result<[UInt8], KernelImageError>
  {
    let path = FileManager.default.temporaryDirectory.path + "/swiftlet-kernel-\(UUID().uuidString)"
    try Data(file).write(to: URL(fileURLWithPath: path))
    defer { unlink(path) }
    return load(path: path, architecture, memory: memory)
  }

  private static func load(path: String, _ architecture: Architecture = .arm64, memory: Int = 1 << 20)
    -> Result<[UInt8], KernelImageError>
  {
    var bytes = [UInt8](repeating: 0xaa, count: memory)
    return bytes.withUnsafeMutableBytes { bytes in
      do throws(KernelImageError) {
        let image = try KernelImage(path: path, architecture: architecture, kernel: LinuxKernel())
        try image.load(into: bytes)
        return .success(Array(bytes))
      } catch { return .failure(error) }
    }
  }

  @Test func plainAndCompressedKernelsAreTheSame() throws {
    for file in [Self.kernel, Self.compressed, Self.zboot(Self.compressed)] {
      let loaded = try Self.load(file).get()
      #expect(Array(loaded[..<Self.kernel.count]) == Self.kernel)
      #expect(loaded[Self.kernel.count...].allSatisfy { $0 == 0xaa })
    }
  }

  /// A stream that is longer than its header says.
  @Test func loadingStaysWithinTheKernelsRange() throws {
    #expect(try Self.load(Self.kernel, memory: 1000).get() == Array(Self.kernel[..<1000]))
    #expect(try Self.load(Self.compressed, memory: 1000).get() == Array(Self.kernel[..<1000]))
  }

  @Test func otherKernelsAreRejected() throws {
    #expect(try Self.load([]) == .failure(.notKernel))
    #expect(try Self.load(Array(Self.kernel[..<63])) == .failure(.notKernel))
    #expect(try Self.load([UInt8](repeating: 0x20, count: 4096)) == .failure(.header(.notKernel)))
    #expect(try Self.load(ELFBuilder.applet(.arm64).bytes()) == .failure(.elf))
    #expect(try Self.load(Self.kernel, .riscv64) == .failure(.architecture(found: .arm64, expected: .riscv64)))
    #expect(try Self.load(Self.compressed, .riscv64) == .failure(.architecture(found: .arm64, expected: .riscv64)))
    #expect(try Self.load([0x28, 0xb5, 0x2f, 0xfd] + Self.kernel) == .failure(.compression(.zstd)))
    #expect(Self.load(path: "/nowhere") == .failure(.unreadable(Errno(ENOENT))))
    #expect(Self.load(path: "/dev") == .failure(.unreadable(Errno(EISDIR))))
    #expect(Self.load(path: "/dev/zero") == .failure(.unreadable(.invalid)))
  }

  @Test func truncatedCompressedKernelsAreRejected() throws {
    for count in [3, 10, 18, 1000, Self.compressed.count - 9, Self.compressed.count - 1] {
      #expect(try Self.load(Array(Self.compressed[..<count])) == .failure(.truncated), "\(count) bytes")
    }
    #expect(try Self.load(Self.zboot(Self.compressed, offset: .max)) == .failure(.truncated))
    #expect(try Self.load(Self.zboot(Self.compressed, size: .max)) == .failure(.truncated))
    #expect(try Self.load(Self.zboot(Self.compressed, offset: 1 << 30, size: 0)) == .failure(.truncated))
    #expect(try Self.load(Self.zboot(Self.compressed, size: 1000)) == .failure(.truncated))
  }

  @Test func damageIsDetected() throws {
    var file = Self.compressed
    file[file.count - 6] ^= 1  // the checksum
    #expect(try Self.load(file) == .failure(.damaged))
    #expect(try Self.load([0x1f, 0x8b, 0x08] + [UInt8](repeating: 0xff, count: 1000)) == .failure(.damaged))
    #expect(try Self.load(Self.zboot(Self.kernel)) == .failure(.damaged))
    // A stream inside a stream is not a kernel.
    #expect(try Self.load(Self.zboot(Self.zboot(Self.compressed))) == .failure(.damaged))
  }

  @Test func randomDamageIsHandled() throws {
    var random = SeededGenerator(seed: 3)
    for _ in 0..<200 {
      var file = Bool.random(using: &random) ? Self.compressed : Self.zboot(Self.compressed)
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        file[Int.random(in: 0..<(Bool.random(using: &random) ? 64 : file.count), using: &random)] ^=
          1 << UInt8.random(in: 0..<8, using: &random)
      }
      if case .success(let loaded) = try Self.load(file) { #expect(loaded.count == 1 << 20) }
    }
  }
}

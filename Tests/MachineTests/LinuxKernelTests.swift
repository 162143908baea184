import Machine
import TestSupport
import Testing

/// The headers of Linux kernels, and the layout of their memory.
struct LinuxKernelTests {
  /// A header in the format of each architecture's boot protocol, optionally in a file with EFI headers (`sections`).
  private static func bytes(
    _ architecture: Architecture = .arm64, textOffset: UInt64 = 0, imageSize: UInt64 = 32 << 20, flags: UInt64 = 0xa,
    sections: [(offset: UInt32, size: UInt32)] = []
  ) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 1024)
    bytes.withUnsafeMutableBytes { bytes in
      bytes.storeBytes(of: textOffset, toByteOffset: 8, as: UInt64.self)
      bytes.storeBytes(of: imageSize, toByteOffset: 16, as: UInt64.self)
      bytes.storeBytes(of: flags, toByteOffset: 24, as: UInt64.self)
      bytes.storeBytes(of: architecture == .arm64 ? 0x644d_5241 : 0x0543_5352, toByteOffset: 56, as: UInt32.self)
      if sections.isEmpty { return }
      bytes.storeBytes(of: 0x5a4d, as: UInt16.self)
      bytes.storeBytes(of: 64, toByteOffset: 60, as: UInt32.self)
      bytes.storeBytes(of: 0x4550, toByteOffset: 64, as: UInt32.self)
      bytes.storeBytes(of: UInt16(sections.count), toByteOffset: 70, as: UInt16.self)
      bytes.storeBytes(of: 160, toByteOffset: 84, as: UInt16.self)
      for (number, section) in sections.enumerated() {
        let entry = 64 + 24 + 160 + number * 40
        guard entry + 40 <= bytes.count else { return }
        bytes.storeBytes(of: section.size, toByteOffset: entry + 16, as: UInt32.self)
        bytes.storeBytes(of: section.offset, toByteOffset: entry + 20, as: UInt32.self)
      }
    }
    return bytes
  }

  private static func header(_ bytes: [UInt8]) throws(KernelHeaderError) -> KernelHeader {
    let result = bytes.withUnsafeBytes { bytes in
      do throws(KernelHeaderError) {
        return Result<KernelHeader, KernelHeaderError>.success(try KernelHeader(bytes))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private static func format(_ bytes: [UInt8]) -> KernelFormat { bytes.withUnsafeBytes { KernelFormat($0) } }

  @Test func headersHaveArchitectureAddressAndSize() throws {
    let arm64 = try Self.header(Self.bytes(.arm64, flags: 0xc, sections: [(0x1_0000, 0x20_0000), (0x21_0000, 0x1000)]))
    #expect(arm64.architecture == .arm64 && arm64.imageSize == 32 << 20 && arm64.pageSize == 16384)
    #expect(arm64.fileSize == 0x21_1000)
    // A section without bytes in the file may have any offset.
    #expect(try Self.header(Self.bytes(sections: [(0x1000, 0x1000), (.max, 0)])).fileSize == 0x2000)
    let riscv64 = try Self.header(Self.bytes(.riscv64, textOffset: 2 << 20, flags: 0))
    #expect(riscv64.architecture == .riscv64 && riscv64.textOffset == 2 << 20 && riscv64.pageSize == nil)
    #expect(riscv64.fileSize == 0)
  }

  @Test(
    arguments: [
      (0x1124, [4096, 65536]), (0xff10_0000, [16384]), (0x1020_0000, [4096, 16384, 65536]), (0xff00_0000, []),
    ] as [(UInt64, [UInt64])])
  func pageSizesAreThoseOfTheCPU(value: UInt64, sizes: [UInt64]) {
    #expect([2048, 4096, 8192, 16384, 65536].filter { ARM64.hasPages(of: $0, idAA64MMFR0: value) } == sizes)
  }

  @Test func invalidHeadersAreRejected() {
    #expect(throws: KernelHeaderError.notKernel) { try Self.header([UInt8](repeating: 0, count: 64)) }
    #expect(throws: KernelHeaderError.notKernel) { try Self.header(Array(Self.bytes()[..<63])) }
    #expect(throws: KernelHeaderError.notKernel) { try Self.header([]) }
    #expect(throws: KernelHeaderError.bigEndian) { try Self.header(Self.bytes(flags: 1)) }
    #expect(throws: KernelHeaderError.noSize) { try Self.header(Self.bytes(imageSize: 0)) }
  }

  /// Offsets and counts of EFI headers that refer to addresses outside the data.
  @Test func hostileSectionsAreHandled() throws {
    for (offset, value) in [(60, UInt32.max), (60, 1020), (84, 0xffff), (68, 0xffff_0000)] as [(Int, UInt32)] {
      var bytes = Self.bytes(sections: [(0x1000, 0x1000)])
      bytes.withUnsafeMutableBytes { $0.storeBytes(of: value, toByteOffset: offset, as: UInt32.self) }
      #expect(try Self.header(bytes).fileSize == 0)
    }
    #expect(try Self.header(Self.bytes(sections: [(.max, .max)])).fileSize == UInt64(UInt32.max) * 2)
  }

  @Test func compressionsAreRecognized() {
    #expect(Self.format([]) == .plain)
    #expect(Self.format(Self.bytes()) == .plain)
    #expect(Self.format([0x1f, 0x8b, 0x08]) == .gzip(offset: 0, size: nil))
    #expect(Self.format([0x1f, 0x8b]) == .plain)
    #expect(Self.format([0x28, 0xb5, 0x2f, 0xfd, 0]) == .other(.zstd))
    #expect(Self.format([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) == .other(.xz))
    func zboot(_ type: String) -> [UInt8] {
      var bytes = Self.bytes(sections: [(0x1000, 0x1000)])
      bytes.replaceSubrange(4..<8, with: Array("zimg".utf8))
      bytes.replaceSubrange(8..<16, with: [0x00, 0x10, 0, 0, 0, 0, 2, 0])
      bytes.replaceSubrange(24..<24 + type.utf8.count, with: Array(type.utf8))
      return bytes
    }
    #expect(Self.format(zboot("gzip\0")) == .gzip(offset: 0x1000, size: 0x2_0000))
    #expect(Self.format(zboot("zstd22\0")) == .other(.zstd))
    #expect(Self.format(zboot("new\0")) == .plain)
  }

  // MARK: Layout

  private static func layout(
    textOffset: UInt64 = 0, imageSize: UInt64 = 32 << 20, initrd: UInt64 = 0, size: UInt64 = 256 << 20,
    limit: UInt64 = 1 << 40
  ) throws(LinuxLayoutError) -> LinuxLayout {
    let header: KernelHeader
    do throws(KernelHeaderError) {
      header = try Self.header(bytes(textOffset: textOffset, imageSize: imageSize))
    } catch { throw .header }
    return try LinuxLayout(header: header, initrdSize: initrd, size: size, addressLimit: limit)
  }

  @Test func rangesOfTheLayoutDoNotOverlap() throws {
    for (offset, image, initrd) in [(0, 1, 0), (2 << 20, 36 << 20, 1), (0x8_0000, 40 << 20, 90 << 20)]
      as [(UInt64, UInt64, UInt64)]
    {
      let layout = try Self.layout(textOffset: offset, imageSize: image, initrd: initrd)
      #expect(layout.memory == LinuxLayout.memoryStart..<LinuxLayout.memoryStart + 256 << 20)
      #expect(layout.kernel.lowerBound == layout.memory.lowerBound + offset && layout.kernel.count == image)
      // booting.rst: at an 8-byte boundary, and not across a 2 MiB boundary.
      #expect(layout.tree.lowerBound % (2 << 20) == 0 && layout.tree.count <= 2 << 20)
      #expect(layout.kernel.upperBound <= layout.tree.lowerBound)
      #expect(layout.tree.upperBound <= layout.initrd.lowerBound && layout.initrd.count == initrd)
      #expect(layout.initrd.upperBound <= layout.memory.upperBound)
    }
  }

  @Test(arguments: [.max, 1 << 63, 1 << 40, (512 << 30) + 4096] as [UInt64])
  func headersBeyondAnyMemoryAreRejected(value: UInt64) {
    #expect(throws: LinuxLayoutError.header) { try Self.layout(textOffset: value) }
    #expect(throws: LinuxLayoutError.header) { try Self.layout(imageSize: value) }
  }

  @Test func tooLittleMemoryReportsTheNeeds() throws {
    #expect(throws: LinuxLayoutError.header) { try Self.layout(textOffset: 123) }
    for (image, initrd) in [(60 << 20, 0), (32 << 20, 40 << 20), (512 << 30, 0), (1, 512 << 30)] as [(UInt64, UInt64)] {
      do throws(LinuxLayoutError) {
        _ = try Self.layout(imageSize: image, initrd: initrd, size: 64 << 20)
        Issue.record("\(image) and \(initrd) bytes fit 64 MiB")
      } catch {
        guard case .needsMemory(let needed) = error else {
          Issue.record("\(error)")
          continue
        }
        #expect(throws: Never.self) { try Self.layout(imageSize: image, initrd: initrd, size: needed, limit: .max) }
      }
    }
    #expect(throws: LinuxLayoutError.needsMemory(.max)) { try Self.layout(initrd: .max) }
  }

  @Test func memoryBeyondTheAddressSpaceIsRejected() {
    for (size, limit) in [(256 << 20, 0x8fff_ffff), (512 << 30, 1 << 39), (.max, .max)] as [(UInt64, UInt64)] {
      #expect(throws: LinuxLayoutError.beyondAddressSpace(limit: limit)) {
        try Self.layout(size: size, limit: limit)
      }
    }
  }

  /// For any numbers in the header there is a layout within the memory, or an error.
  @Test func randomHeadersAreHandled() {
    var random = SeededGenerator(seed: 7)
    for _ in 0..<20_000 {
      var bytes = Self.bytes(Bool.random(using: &random) ? .arm64 : .riscv64, sections: [(0x1000, 0x1000)])
      for _ in 0..<Int.random(in: 1...8, using: &random) {
        bytes[Int.random(in: 0..<300, using: &random)] = .random(in: 0...255, using: &random)
      }
      _ = Self.format(bytes)
      do throws(KernelHeaderError) {
        let header = try Self.header(bytes)
        do throws(LinuxLayoutError) {
          let layout = try LinuxLayout(
            header: header, initrdSize: random.next() >> UInt64.random(in: 0..<64, using: &random), size: 1 << 30,
            addressLimit: 1 << 40)
          #expect(
            layout.kernel.upperBound <= layout.memory.upperBound && layout.initrd.upperBound <= layout.memory.upperBound
          )
        } catch {}
      } catch {}
    }
  }
}

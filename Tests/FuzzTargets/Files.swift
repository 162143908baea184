import Applet
import CLinux
import DeviceTree
import Machine
import Monitor
import Platform
import TestSupport

extension FuzzTarget {
  /// ELF files: checked, laid out, loaded, and searched for symbols.
  static let elf = FuzzTarget(
    name: "elf", input: "ELF files",
    run: { bytes in
      guard let first = bytes.first else { return }
      // The first byte selects the host; the rest is the file.
      let file = UnsafeRawBufferPointer(rebasing: bytes.dropFirst())
      let architecture: Architecture = first & 1 == 0 ? .arm64 : .riscv64
      let kernel = LinuxKernel()
      guard let contents = try? FileContents(copying: file, kernel: kernel) else { return }
      let image: AppletImage
      do throws(ImageError) { image = try AppletImage(contents, architecture: architecture) } catch {
        hold(!error.description.isEmpty && !error.description.contains("\n"), "an error is one line")
        return
      }
      var end: UInt64 = 0
      for segment in image.segments {
        hold(segment.pages.lowerBound >= end, "segments are in order and share no page")
        hold(!segment.access.isSuperset(of: [.write, .execute]), "nothing is writable and executable")
        hold(segment.content.upperBound <= file.count, "contents are in the file")
        end = segment.pages.upperBound
      }
      hold(image.range.contains(image.architecture.start(at: image.entry).pc), "the entry point is in the image")
      let size: UInt64 = first & 2 == 0 ? 1 << 20 : 16 << 20
      if let layout = try? SecureLayout(
        image: image.range, size: size, deviceTree: 4096, hostPage: first & 4 == 0 ? 4096 : 16384, addressLimit: 1 << 40
      ),
        var memory = try? GuestMemory(layout: layout, kernel: kernel)
      {
        memory.load(image)
        for region in memory.regions { hold(!region.range.isEmpty, "regions are not empty") }
      }
      let entry = image.entry
      let symbols = image.intoSymbols()
      for address in [entry, 0, .max, entry &+ 0x1000] { _ = symbols.nearest(to: address) }
    },
    seeds: {
      architectures.enumerated().flatMap { index, architecture in
        var named = ELFBuilder.applet(architecture)
        named.symbols = [.init("start", at: 0x8000_0040, size: 16), .init("end", at: 0x8000_0050)]
        var pie = ELFBuilder.applet(architecture, at: 0x1000)
        pie.type = 3
        return [ELFBuilder.applet(architecture), named, pie].map { [UInt8(index)] + $0.bytes() }
      } + [[0] + ELFBuilder.applet(.aarch32, at: 0x1000_0000).bytes()]
    })

  /// The device tree of an applet: the arguments are its user's, the layout is the image's.
  static let tree = FuzzTarget(
    name: "tree", input: "generated device trees",
    run: { bytes in
      var input = Input(bytes)
      let architecture: Architecture = input.byte() & 1 == 0 ? .arm64 : .riscv64
      let start = input.value(near: [0x8000_0000, 0, 1 << 38, .max])
      let length = input.value(near: [0x1000, 1 << 20])
      let (end, overflow) = start.addingReportingOverflow(length)
      guard !overflow, length > 0 else { return }
      let size = input.value(near: [1 << 20, 1 << 36, .max])
      let arguments = input.rest()
      guard
        let layout = try? SecureLayout(
          image: start..<end, size: size, deviceTree: MachineDescription.maxTreeSize(arguments.count, TreeChanges()),
          hostPage: 4096,
          addressLimit: 1 << 40)
      else { return }
      let ranges = [layout.image, layout.deviceTree, layout.stack, layout.tables, layout.heap]
      var last = layout.slot.lowerBound
      for range in ranges {
        hold(range.lowerBound >= last && range.upperBound <= layout.slot.upperBound, "parts are in order")
        last = range.upperBound
      }
      let machine = MachineDescription(applet: layout, architecture: architecture, arguments: arguments)
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.deviceTree.count, alignment: 8)
      defer { buffer.deallocate() }
      do throws(DeviceTreeError) {
        let count = try machine.writeTree(to: buffer)
        hold(count <= buffer.count, "a tree is in its room")
      } catch { fatalError("a tree that its layout has room for: \(error.description)") }
    },
    seeds: {
      [[0] + seed(0x8000_0000) + seed(0x4000) + seed(1 << 20) + Array("test.elf\0argument\0".utf8)]
    })

  private static func seed(_ number: UInt64) -> [UInt8] { [3] + withUnsafeBytes(of: number.littleEndian) { Array($0) } }

  /// Linux kernels: header, layout, loading.
  static let linux = FuzzTarget(
    name: "linux", input: "Linux kernels",
    run: { bytes in
      var input = Input(bytes)
      let architecture: Architecture = input.byte() & 1 == 0 ? .arm64 : .riscv64
      let initrd = input.value(near: [1 << 20, 1 << 39, .max])
      let size = input.value(near: [64 << 20, 1 << 39, .max])
      let file = MemoryFile(input.rest())
      let image: KernelImage
      do throws(KernelImageError) {
        image = try KernelImage(path: file.path, architecture: architecture, kernel: LinuxKernel())
      } catch {
        hold(!error.description.isEmpty && !error.description.contains("\n"), "an error is one line")
        return
      }
      guard
        let layout = try? LinuxLayout(header: image.header, initrdSize: initrd, size: size, addressLimit: 1 << 40)
      else { return }
      var last = layout.memory.lowerBound
      for range in [layout.kernel, layout.tree, layout.initrd] {
        hold(range.lowerBound >= last && range.upperBound <= layout.memory.upperBound, "parts are in order")
        last = range.upperBound
      }
      guard layout.kernel.count <= 1 << 20 else { return }
      let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: layout.kernel.count, alignment: 8)
      defer { memory.deallocate() }
      try? image.load(into: memory)
    },
    seeds: {
      architectures.enumerated().flatMap { index, architecture in
        var header = [UInt8](repeating: 0, count: 64)
        header.replaceSubrange(16..<24, with: withUnsafeBytes(of: UInt64(0x10000).littleEndian) { Array($0) })
        let magic: [UInt8] = architecture == .arm64 ? [0x41, 0x52, 0x4d, 0x64] : [0x52, 0x53, 0x43, 0x05]
        header.replaceSubrange(56..<60, with: magic)
        let kernel = header + [UInt8](repeating: 0x90, count: 100)
        let prefix = [UInt8(index)] + seed(0x1000) + seed(256 << 20)
        // Plain, compressed, and compressed within an EFI program.
        let packed = gzip(kernel)
        var efi = [UInt8](repeating: 0, count: 64)
        efi.replaceSubrange(0..<16, with: Array("MZ\0\0zimg".utf8) + [64, 0, 0, 0, UInt8(packed.count), 0, 0, 0])
        efi.replaceSubrange(24..<28, with: Array("gzip".utf8))
        return [prefix + kernel, prefix + packed, prefix + efi + packed]
      }
    })

  /// A gzip stream (RFC 1952) of one stored block (RFC 1951, 3.2.4).
  private static func gzip(_ content: [UInt8]) -> [UInt8] {
    var checksum = ~UInt32(0)
    for byte in content {
      checksum ^= UInt32(byte)
      for _ in 0..<8 { checksum = checksum >> 1 ^ (checksum & 1 == 1 ? 0xedb8_8320 : 0) }
    }
    let count = UInt16(content.count)
    let size = [count & 0xff, count >> 8, ~count & 0xff, ~count >> 8].map { UInt8($0) }
    let end = [~checksum, UInt32(count)].flatMap { word in (0..<4).map { UInt8(word >> ($0 * 8) & 0xff) } }
    return [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1] + size + content + end
  }
}

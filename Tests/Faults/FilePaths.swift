import CLinux
import Devices
import Monitor
import Platform
import TestSupport

@testable import Supervisor

/// Files to which guests cause writes: a console with a history, values, a disk.
extension Path {
  static var files: Path {
    Path(name: "output, values, a disk", variants: [Variant.all[2]]) { kernel, _, stage throws(PathError) in
      let console = Scratch(stage.list + "-console")
      let values = Scratch(stage.list + "-values")
      let disk = Scratch(stage.list + "-disk")
      defer { for file in [console, values, disk] { file.remove() } }
      ftruncate(disk.descriptor, 4096)
      stage.begin()
      do throws(Errno) { try write(to: console.descriptor) } catch { throw .exec(.output(error)) }
      keep(in: values.descriptor)
      try transfer(disk.path, kernel)
      stage.pause()
      // A change is applied completely or not at all, whatever failed.
      let kept = ValueStore(values.descriptor)
      guard kept.keys.allSatisfy({ kept.get($0) == .string("value of \($0)") }) else {
        throw .broken("values are torn")
      }
      return "all as it was, or as it was to be"
    }
  }

  /// More than the history, whose beginning is to be discarded if possible.
  private static func write(to file: Int32) throws(Errno) {
    let output = Console(descriptor: file)
    output.history = 64 << 10
    let bytes = [UInt8](repeating: 0x0a, count: 300 << 10)
    var failure: Errno?
    bytes.withUnsafeBytes { bytes in
      do throws(Errno) { try output.put(bytes) { false } } catch { failure = error }
    }
    if let failure { throw failure }
  }

  private static func keep(in file: Int32) {
    let store = ValueStore(file)
    for key in ["a", "b"] {
      let before = store.keys
      do throws(RPCError) { try store.set(key, "value of \(key)") } catch {
        precondition(store.keys == before, "what could not be kept is not told of")
      }
    }
  }

  /// A write, a flush and a read, each of which is answered as successful or failed.
  private static func transfer(_ path: String, _ kernel: ScriptedKernel) throws(PathError) {
    let base: UInt64 = 0x8000_0000
    let memory: DeviceMemory
    do throws(Errno) { memory = try DeviceMemory(at: base, count: 64 << 10, kernel: kernel) } catch {
      throw .exec(.host(error))
    }
    let device: VirtioBlock
    do throws(DiskError) {
      device = try VirtioBlock(
        path: path, isReadOnly: false, serial: "faults", memory: memory, interrupt: Silence(), kernel: kernel,
        complain: { _ in })
    } catch { throw .linux(.disk(0, error)) }
    let transport = VirtioMMIO(device)
    func set(_ offset: UInt64, _ value: UInt64) { transport.store(offset, length: 4, value: value) }
    for (register, value) in [
      (0x70, 1), (0x70, 3), (0x24, 1), (0x20, 1), (0x70, 11), (0x30, 0), (0x38, 8), (0x80, base), (0x90, base + 0x1000),
      (0xa0, base + 0x2000), (0x44, 1), (0x70, 15),
    ] as [(UInt64, UInt64)] { set(register, value) }
    func put<Value>(_ value: Value, at offset: Int) {
      memory.bytes.storeBytes(of: value, toByteOffset: offset, as: Value.self)
    }
    for (number, type) in [1, 4, 0].enumerated() as EnumeratedSequence<[UInt32]> {
      // Header, data and status; a flush has no data.
      put((type, UInt32(0), UInt64(1)), at: 0x3000)
      put(UInt8(0xff), at: 0x5000)
      let flags: UInt64 = type == 0 ? 3 : 1
      put((base + 0x3000, UInt64(16) | 1 << 32 | (type == 4 ? 2 : 1) << 48), at: 0)
      put((base + 0x4000, UInt64(512) | flags << 32 | 2 << 48), at: 16)
      put((base + 0x5000, UInt64(1) | 2 << 32), at: 32)
      put(UInt16(number + 1), at: 0x1002)
      set(0x50, 0)
      device.ready(.input)
      let status = memory.bytes.load(fromByteOffset: 0x5000, as: UInt8.self)
      let used = memory.bytes.load(fromByteOffset: 0x2002, as: UInt16.self)
      guard status <= 1, used == UInt16(number + 1) else { throw .broken("request \(type) is answered with \(status)") }
    }
  }

  private final class Silence: InterruptLine {
    func pulse() {}
    func setLevel(_ isHigh: Bool) {}
  }

  /// A new file, created before calls fail.
  private struct Scratch {
    let path: String
    let descriptor: Int32

    init(_ path: String) {
      self.path = path
      descriptor = Int32(linux_open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600))
      precondition(descriptor >= 0)
    }

    func remove() {
      _ = linux_close(descriptor)
      unlink(path)
    }
  }
}

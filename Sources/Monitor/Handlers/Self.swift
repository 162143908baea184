import Machine
import Applet
import AppletABI
import CLinux

/// Call 0x104: describes one region of the applet's memory.
@inline(never)
func region(_ context: ExecCtx) throws(ExecError) {
  let index = context.a1
  guard index < UInt64(context.memory.regions.count) else { return context.ret(-Int64(ENOENT)) }
  try write(context, context.memory.regions[Int(index)])
}

@inline(never)
private func write(_ context: ExecCtx, _ region: MemoryRegion) throws(ExecError) {
  let answer = applet_region(
    start: region.range.lowerBound, length: region.range.upperBound - region.range.lowerBound,
    access: UInt64(region.access.rawValue), use: region.use.rawValue)
  try context.withBuffer(at: context.a2, count: UInt64(MemoryLayout<applet_region>.size), for: .write) { buffer in
    withUnsafeBytes(of: answer) { buffer.copyMemory(from: $0) }
  }
  context.ret(UInt64(0))
}

/// Call 0x105: returns the applet's name and arguments.
@inline(never)
func arguments(_ context: ExecCtx) throws(ExecError) {
  try context.withBuffer(at: context.a1, count: context.a2, for: .write) { buffer in
    context.arguments.withUnsafeBytes {
      buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0.prefix(buffer.count)))
    }
  }
  context.ret(UInt64(context.arguments.count))
}

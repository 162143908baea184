import Applet
import Machine
import Platform
import TestSupport
import Testing

/// Reads the bytes of a file as an applet. Those of AArch32 are read on a host of arm64.
func image(_ bytes: [UInt8], _ architecture: Architecture = .arm64) throws(ImageError) -> AppletImage {
  let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { buffer.deallocate() }
  buffer.copyBytes(from: bytes)
  let contents: FileContents
  do throws(Errno) {
    contents = try FileContents(copying: UnsafeRawBufferPointer(buffer), kernel: LinuxKernel())
  } catch { throw .unreadable(error) }
  return try AppletImage(contents, architecture: architecture == .aarch32 ? .arm64 : architecture)
}

/// The error for the bytes of a file; nil for an applet.
func error(_ bytes: [UInt8], _ architecture: Architecture = .arm64) -> ImageError? {
  do throws(ImageError) {
    _ = try image(bytes, architecture)
    return nil
  } catch { return error }
}

/// Properties of every image that is accepted, with any contents of the file.
func complaint(_ image: borrowing AppletImage, fileSize: Int) -> String? {
  var last: UInt64 = 0
  var isEntryExecutable = false
  if image.segments.isEmpty { return "no segments" }
  for segment in image.segments {
    if segment.access.isSuperset(of: [.write, .execute]) { return "writable and executable" }
    if segment.size == 0 { return "empty segment" }
    if UInt64(segment.content.count) > segment.size { return "more file than memory" }
    if segment.content.lowerBound < 0 || segment.content.upperBound > fileSize { return "content outside the file" }
    let (end, wraps) = segment.address.addingReportingOverflow(segment.size)
    if wraps { return "wraps around" }
    if segment.pages.lowerBound < last { return "overlaps, or is out of order" }
    if segment.pages.lowerBound > segment.address || segment.pages.upperBound < end { return "pages do not cover it" }
    last = segment.pages.upperBound
    let entry = image.architecture.start(at: image.entry).pc
    if segment.access.contains(.execute), segment.address <= entry, entry < end {
      isEntryExecutable = true
    }
  }
  return isEntryExecutable ? nil : "entry in no executable segment"
}

import CLinux
import CZlib
import Platform

/// What a gzip stream in a part of a file unpacks to, from front to back (zlib).
struct GzipStream: ~Copyable {
  enum Problem: Error, Equatable {
    case unreadable(Errno)
    /// The file's part ends before the stream does.
    case truncated
    /// It is no gzip stream, or its checksum is off.
    case damaged
  }

  private let file: Int32
  /// What is left of the file's part.
  private var rest: Range<Int>
  /// zlib's own state points back at it: it stays where it is.
  private let stream: UnsafeMutablePointer<z_stream>
  private let input: UnsafeMutableRawBufferPointer
  private var hasEnded = false

  private static let inputSize = 64 << 10

  /// - Parameters:
  ///   - file: a descriptor that stays open for as long as this value lives.
  ///   - part: where in the file the stream is.
  init(_ file: Int32, _ part: Range<Int>) throws(Problem) {
    self.file = file
    rest = part
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    input = .allocate(byteCount: Self.inputSize, alignment: 16)
    guard swiftlet_inflate_start(stream) == Z_OK else { throw .unreadable(Errno(ENOMEM)) }
  }

  deinit {
    // Does nothing to a stream that was not started.
    inflateEnd(stream)
    stream.deallocate()
    input.deallocate()
  }

  /// Unpacks the next bytes.
  /// - Returns: how many; fewer than there is room for at the stream's end alone.
  mutating func read(into target: UnsafeMutableRawBufferPointer) throws(Problem) -> Int {
    var done = 0
    while done < target.count, !hasEnded {
      if stream.pointee.avail_in == 0 { try refill() }
      let room = min(target.count - done, 1 << 30)
      // zlib writes no more than `avail_out` bytes, and reads no more than `avail_in`.
      stream.pointee.next_out = target.baseAddress!.advanced(by: done).assumingMemoryBound(to: UInt8.self)
      stream.pointee.avail_out = UInt32(truncatingIfNeeded: room)
      let result = inflate(stream, Z_NO_FLUSH)
      done += room - Int(stream.pointee.avail_out)
      switch result {
      case Z_OK: continue
      case Z_STREAM_END: hasEnded = true
      case Z_MEM_ERROR: throw .unreadable(Errno(ENOMEM))
      default: throw .damaged
      }
    }
    return done
  }

  private mutating func refill() throws(Problem) {
    guard !rest.isEmpty else { throw .truncated }
    let result = linux_transfer(file, false, input.baseAddress, min(rest.count, input.count), rest.lowerBound)
    if result < 0 { throw .unreadable(Errno(Int32(truncatingIfNeeded: -result))) }
    guard result > 0 else { throw .truncated }
    rest = rest.lowerBound + result..<rest.upperBound
    stream.pointee.next_in = input.baseAddress!.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_in = UInt32(truncatingIfNeeded: result)
  }
}

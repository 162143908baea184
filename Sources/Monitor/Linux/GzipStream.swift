import CLinux
import CZlib
import Platform

/// Why a gzip stream cannot be decompressed.
enum GzipError: Error, Equatable {
  case unreadable(Errno)
  /// The data ends before the stream does.
  case truncated
  /// It is not a gzip stream, or its checksum is wrong.
  case damaged
}

/// Decompresses a gzip stream in a part of a file, sequentially (zlib).
struct GzipStream: ~Copyable {
  private let file: Int32
  /// The part of the file that has not been read yet.
  private var rest: Range<Int>
  /// zlib keeps a pointer to it in its own state, so it must not move.
  private let stream: UnsafeMutablePointer<z_stream>
  private let input: UnsafeMutableRawBufferPointer
  private var hasEnded = false

  private static let inputSize = 64 << 10

  /// - Parameters:
  ///   - file: a descriptor that stays open while this value exists.
  ///   - part: the range of the file that has the stream.
  init(_ file: Int32, _ part: Range<Int>) throws(GzipError) {
    self.file = file
    rest = part
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    input = .allocate(byteCount: Self.inputSize, alignment: 16)
    guard swiftlet_inflate_start(stream) == Z_OK else { throw .unreadable(Errno(ENOMEM)) }
  }

  deinit {
    // Has no effect on a stream that was not started.
    inflateEnd(stream)
    stream.deallocate()
    input.deallocate()
  }

  /// Decompresses the next bytes.
  /// - Returns: their number, which is less than the buffer's size only at the end of the stream.
  mutating func read(into target: UnsafeMutableRawBufferPointer) throws(GzipError) -> Int {
    var done = 0
    while done < target.count, !hasEnded {
      if stream.pointee.avail_in == 0 { try refill() }
      let space = min(target.count - done, 1 << 30)
      // zlib writes at most `avail_out` bytes, and reads at most `avail_in`.
      stream.pointee.next_out = target.baseAddress!.advanced(by: done).assumingMemoryBound(to: UInt8.self)
      stream.pointee.avail_out = UInt32(truncatingIfNeeded: space)
      let result = inflate(stream, Z_NO_FLUSH)
      done += space - Int(stream.pointee.avail_out)
      switch result {
      case Z_OK: continue
      case Z_STREAM_END: hasEnded = true
      case Z_MEM_ERROR: throw .unreadable(Errno(ENOMEM))
      default: throw .damaged
      }
    }
    return done
  }

  private mutating func refill() throws(GzipError) {
    guard !rest.isEmpty else { throw .truncated }
    let result = linux_transfer(file, false, input.baseAddress, min(rest.count, input.count), rest.lowerBound)
    if result < 0 { throw .unreadable(Errno(Int32(truncatingIfNeeded: -result))) }
    guard result > 0 else { throw .truncated }
    rest = rest.lowerBound + result..<rest.upperBound
    stream.pointee.next_in = input.baseAddress!.assumingMemoryBound(to: UInt8.self)
    stream.pointee.avail_in = UInt32(truncatingIfNeeded: result)
  }
}

import CLinux
import Platform

/// Reads a console's history, and new output.
final class ConsoleReader {
  let entry: AppletEntry
  let file: OwnedFD
  var offset: Int64
  let isFollowing: Bool
  /// The times of the output; nil if the client does not ask for them.
  private let times: TimeReader?
  /// The number of the inotify watch; -1 for none.
  var watch: Int32 = -1

  /// Whether there may be more to read, because the turn ended or the client's buffer is full.
  var hasMore = false

  /// Maximum number of bytes in a reply.
  static let chunk = 32 << 10
  /// Maximum number of replies in one turn, before other clients are served.
  static let turn = 8

  init(
    _ entry: AppletEntry, file: consuming OwnedFD, offset: Int64, isFollowing: Bool, times: TimeReader? = nil
  ) {
    self.entry = entry
    self.file = file
    self.offset = offset
    self.isFollowing = isFollowing
    self.times = times
  }

  /// When the bytes that were read last were written, in milliseconds since 1970; nil if that is not known.
  var time: Int64? { times?.time }

  /// The next bytes, with their offset; empty at the end of the file.
  func next() -> (offset: Int64, bytes: [UInt8]) {
    // Discarded output is a hole.
    let data = linux_lseek_data(file.number, offset)
    // A hole up to the end contains no output.
    if data == -Int(ENXIO) { return (offset, []) }
    if data > offset { offset = Int64(data) }
    var room = Self.chunk
    if let times {
      // A time is recorded before its output is written: that of each byte in the file now is known.
      let end = Int64(linux_size(file.number))
      room = Int(max(min(Int64(room), end - offset, times.distance(from: offset)), 0))
    }
    let bytes = [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
      count = max(linux_pread(file.number, buffer.baseAddress, buffer.count, Int(offset)), 0)
    }
    let start = offset
    offset += Int64(bytes.count)
    return (start, bytes)
  }
}

/// Reads the times of a console's output (`Console.times`).
final class TimeReader {
  private let file: OwnedFD
  private var position: Int64 = 0
  /// Records that have been read, and the number of those that have been used.
  private var batch: [(time: Int64, offset: Int64)] = []
  private var used = 0
  /// The time of the output at the last offset; nil if it is not known.
  private(set) var time: Int64?

  /// Number of records that are read at once.
  private static let batchCount = 256
  /// Maximum number of reads for one reply: a worker keeps fewer records than that, unless it is compromised.
  private static let maxReads = 2 * Console.maxTimes / batchCount

  init(_ file: consuming OwnedFD) { self.file = file }

  /// The number of bytes from an offset to the first that has another time, of which `time` is made that of the offset.
  /// - Parameter offset: not less than the last time.
  func distance(from offset: Int64) -> Int64 {
    for _ in 0..<Self.maxReads {
      while used < batch.count {
        let record = batch[used]
        if record.offset > offset { return record.offset - offset }
        time = record.time
        used += 1
      }
      read()
      if batch.isEmpty { break }
    }
    return .max
  }

  /// Reads the next records. The worker that wrote them may be compromised: any value is possible.
  private func read() {
    (batch, used) = ([], 0)
    // Old records are a hole, which ends anywhere in a block.
    let data = Int64(linux_lseek_data(file.number, position))
    if data > position { position = data / Console.timeSize * Console.timeSize }
    var numbers = [Int64](repeating: 0, count: 2 * Self.batchCount)
    let count = numbers.withUnsafeMutableBytes { linux_pread(file.number, $0.baseAddress, $0.count, Int(position)) }
    for index in 0..<max(count, 0) / Int(Console.timeSize) {
      position += Console.timeSize
      let (time, offset) = (numbers[2 * index], numbers[2 * index + 1])
      if time > 0, offset >= 0 { batch.append((time, offset)) }
    }
  }
}

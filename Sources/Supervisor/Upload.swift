import CLinux
import Control
import JSON
import Platform

/// An image that a client sends in pieces, where a descriptor cannot travel: through a socket that ssh(1) forwards.
final class Upload {
  /// The file in memory (memfd_create(2)).
  let descriptor: OwnedFD
  fileprivate(set) var count = 0

  init() throws(Errno) {
    descriptor = OwnedFD(
      adopting: Int32(truncatingIfNeeded: try checked(linux_memfd_create("swiftlet-image"))), kernel: LinuxKernel())
  }
}

extension Daemon {
  /// Performs Upload: adds a piece to the image of this connection, for its next Start.
  func upload(_ parameters: Parameters, _ connection: Connection) throws(ControlError) -> JSONValue {
    guard let bytes = try parameters.bytes("data") else { throw .invalidParameter("data") }
    var (own, total) = (bytes.count, bytes.count)
    for other in connections {
      guard let count = other.upload?.count else { continue }
      if connection.user.isTrusted ? other === connection : other.user === connection.user { own += count }
      if !other.user.isTrusted { total += count }
    }
    let limit = options.uploadLimit
    guard own <= limit / 2 else {
      throw .hostFailure(
        "an image that is sent in pieces has at most \(limit >> 21) MiB, together with others of its user")
    }
    guard total <= limit || connection.user.isTrusted else {
      throw .hostFailure("the images that clients are sending have \(limit >> 20) MiB: try again later")
    }
    do throws(Errno) {
      let upload: Upload
      if let begun = connection.upload { upload = begun } else { upload = try Upload() }
      connection.upload = upload
      var piece = bytes
      let written = piece.withUnsafeMutableBytes {
        linux_transfer(upload.descriptor.number, true, $0.baseAddress, $0.count, upload.count)
      }
      guard try checked(written) == bytes.count else { throw Errno(ENOSPC) }
      upload.count += bytes.count
      connection.expectUpload()
      return .object([JSONMember("size", .integer(Int64(upload.count)))])
    } catch {
      connection.upload = nil
      throw .hostFailure("cannot keep the image: \(error.description)")
    }
  }
}

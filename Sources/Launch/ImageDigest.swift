import Applet
import CLinux
import Machine
import Platform

/// The SHA-256 digest of an image, written as container engines do: "sha256:" and 64 hexadecimal digits.
public struct ImageDigest: Equatable, Sendable, CustomStringConvertible {
  /// The digest as text, in lower case.
  public let description: String

  private static let prefix = "sha256:"

  /// - Returns: nil if the text is not a digest.
  public init?(_ text: String) {
    let digits = text.utf8.dropFirst(Self.prefix.utf8.count)
    guard text.hasPrefix(Self.prefix), digits.count == 64 else { return nil }
    var small: [UInt8] = []
    for digit in digits {
      switch digit {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"): small.append(digit)
      case UInt8(ascii: "A")...UInt8(ascii: "F"): small.append(digit | 0x20)
      default: return nil
      }
    }
    description = Self.prefix + String(decoding: small, as: UTF8.self)
  }

  /// The digest of bytes.
  public init(of bytes: UnsafeRawBufferPointer) {
    var hash = SHA256()
    hash.update(bytes)
    description = Self.prefix + hash.finish()
  }

  /// The digest of a regular file. Its file offset does not change.
  /// - Throws: the kernel's error; EFBIG for a file that is too large for an image.
  public init(of file: borrowing OwnedFD) throws(Errno) {
    guard try checked(linux_file_size(file.number)) <= AppletImage.sizeLimit else { throw .tooBig }
    var hash = SHA256()
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    var offset = 0
    while true {
      let count = try checked(
        uninterrupted { buffer.withUnsafeMutableBytes { linux_pread(file.number, $0.baseAddress, $0.count, offset) } })
      if count == 0 { break }
      buffer.withUnsafeBytes { hash.update(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      offset += count
    }
    description = Self.prefix + hash.finish()
  }
}

extension GuestSpec {
  /// Reads and checks an image that is open already.
  /// - Parameters:
  ///   - name: the guest's, for errors.
  ///   - digest: of the bytes that are run; nil for any.
  public static func loadImage(
    _ file: consuming OwnedFD, name: String, digest: ImageDigest?, _ architecture: Architecture
  ) throws(LaunchError) -> AppletImage {
    guard let digest else {
      do { return try AppletImage(file, architecture: architecture) } catch { throw .image(name, error) }
    }
    // Read once: the file may change between a check and a second reading.
    let contents: FileContents
    do { contents = try FileContents(file, limit: AppletImage.sizeLimit) } catch {
      throw .image(name, .unreadable(error))
    }
    let found = ImageDigest(of: contents.bytes)
    guard found == digest else { throw .digest(name, found: found, expected: digest) }
    do { return try AppletImage(contents, architecture: architecture) } catch { throw .image(name, error) }
  }
}

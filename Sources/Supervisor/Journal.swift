import CLinux
import Platform

/// systemd's journal, to which entries with fields are sent
/// (https://systemd.io/JOURNAL_NATIVE_PROTOCOL: one datagram for each entry).
final class Journal {
  private let socket: OwnedFD
  private let path: String

  /// The journal's socket.
  private static let standardPath = "/run/systemd/journal/socket"

  /// The journal, if a descriptor is the stream to it that systemd has made.
  convenience init?(of descriptor: Int32) {
    guard let stream = Self.stream else { return nil }
    self.init(of: descriptor, stream: stream, path: Self.standardPath)
  }

  /// - Parameter stream: the device and inode of the stream, "8:1234".
  init?(of descriptor: Int32, stream: String, path: String) {
    guard Self.isStream(descriptor, stream) else { return nil }
    var (device, inode): (UInt64, UInt64) = (0, 0)
    // A container may have the stream, but not the socket.
    guard linux_file_identity(path, &device, &inode) == 0 else { return nil }
    let number = linux_datagram_socket()
    guard number >= 0 else { return nil }
    socket = OwnedFD(adopting: Int32(truncatingIfNeeded: number), kernel: LinuxKernel())
    self.path = path
  }

  /// The stream that systemd has made, as $JOURNAL_STREAM says (systemd.exec(5)). A process that a service or a terminal has
  /// started inherits the variable, but may have other streams.
  private static var stream: String? { linux_getenv("JOURNAL_STREAM").map { String(cString: $0) } }

  /// Whether a descriptor is the stream to the journal.
  static func reads(from descriptor: Int32) -> Bool { stream.map { isStream(descriptor, $0) } ?? false }

  private static func isStream(_ descriptor: Int32, _ stream: String) -> Bool {
    var (device, inode): (UInt64, UInt64) = (0, 0)
    return linux_descriptor_identity(descriptor, &device, &inode) == 0 && stream == "\(device):\(inode)"
  }

  /// Sends an entry, without blocking.
  /// - Parameters:
  ///   - message: in one line.
  ///   - applet: the applet that it is about; nil for none.
  /// - Returns: false if the journal does not take it now.
  func send(message: ArraySlice<UInt8>, priority: Int32, event: String, applet: String?) -> Bool {
    var entry = Array("SYSLOG_IDENTIFIER=swiftlet\nPRIORITY=\(priority)\nSWIFTLET_EVENT=\(event)\n".utf8)
    if let applet { entry += Array("SWIFTLET_APPLET=\(applet)\n".utf8) }
    entry += Array("MESSAGE=".utf8) + message
    entry.append(0x0a)
    while true {
      let result = linux_send_datagram(socket.number, path, entry, entry.count)
      if result != -Int(EINTR) { return result >= 0 }
    }
  }
}

/// The address of a service in another program.
public struct ServiceAddress: Equatable, Sendable {
  /// The name of the service: the part of a method's name before the dot.
  public let name: String
  /// The path of its socket.
  public let path: String

  /// - Returns: nil if the name has a dot or is empty, or the address is not "unix:" and an absolute path.
  public init?(name: String, address: String) {
    // struct sockaddr_un has space for 107 bytes and a zero byte.
    guard !name.isEmpty, !name.utf8.contains(UInt8(ascii: ".")), address.hasPrefix("unix:/"),
      address.utf8.count <= 5 + 107
    else {
      return nil
    }
    self.name = name
    path = String(address.dropFirst(5))
  }
}

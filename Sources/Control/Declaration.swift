import JSON

/// Where an applet is declared, and how: the interface's type Declared.
public struct Declaration: Equatable, Sendable {
  /// The directory of its file.
  public let directory: String
  /// What the file and the image were when the applet was started: any text, of which only equality matters. It is empty if the
  /// applet is to be started again when its declaration is applied the next time.
  public var version: String

  /// Maximum length of a version, in bytes.
  private static let maxVersion = 128

  /// - Parameter directory: an absolute path.
  public init(directory: String, version: String) {
    self.directory = directory
    self.version = version
  }

  /// Decodes the interface's type.
  /// - Throws: `InvalidParameter`.
  init(_ parameters: Parameters) throws(ControlError) {
    guard let directory = try parameters.string("directory"), directory.hasPrefix("/"),
      directory.utf8.count < StartRequest.maxPath, let version = try parameters.string("version"),
      version.utf8.count <= Self.maxVersion
    else { throw .invalidParameter("declared") }
    self.init(directory: directory, version: version)
  }

  /// Its members.
  public var json: JSONValue {
    .object([JSONMember("directory", .string(directory)), JSONMember("version", .string(version))])
  }
}

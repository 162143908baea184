import Applet
import CLinux
import Control
import JSON
import Launch
import Machine
import Platform
import Supervisor

/// Arguments of `swiftlet apply`.
struct ApplyArguments: CommandArguments, ConnectsToDaemon {
  var socket: String?
  var isJSON = false
  var isDryRun = false
  var prunes = false
  private(set) var paths: [String] = []

  mutating func take(operands: [String]) throws(ArgumentError) {
    if operands.isEmpty { throw ArgumentError("the file or directory is missing") }
    paths = operands
  }

  static var options: [Option<ApplyArguments>] {
    [
      Option("dry-run", help: "only say what would be done") { arguments, _ in arguments.isDryRun = true },
      Option("prune", help: "remove applets whose file is no longer in the DIRECTORY") { arguments, _ in
        arguments.prunes = true
      },
      socketOption(), jsonOption(),
    ]
  }
}

/// `swiftlet apply`.
func apply(_ arguments: ApplyArguments) throws(Failure) -> Int32 {
  var first = ExitCode.success
  func note(_ failure: Failure) {
    guard case .failed(let code, let message) = failure else { return }
    complain("swiftlet: \(message)")
    if first == .success { first = code }
  }
  var files = AppletFiles()
  for path in arguments.paths {
    do throws(Failure) { try files.add(path, note) } catch { note(error) }
  }
  if arguments.prunes, files.directories.isEmpty, first == .success {
    throw .usage(.apply, "--prune needs a directory: what is not in it is removed")
  }
  let applying = Applying(try arguments.connect(), isDryRun: arguments.isDryRun)
  try applying.apply(files, prunes: arguments.prunes, note) { change, name throws(Failure) in
    if arguments.isJSON {
      try say(json: .object([JSONMember("name", .string(name)), JSONMember("change", .string(change.rawValue))]))
    } else {
      let note = arguments.isDryRun ? " (dry run)" : change == .changed ? " (restarted)" : ""
      try say("\(change.rawValue) \(name)\(note)\n")
    }
  }
  return first.rawValue
}

/// The command with which the daemon applies its directory. Standard input is a connection to it, and messages go to its log.
/// - Parameter words: the format of the log, and the directory.
func applyDeclarations(_ words: [String]) -> Int32 {
  guard words.count == 2 else { return ExitCode.usage.rawValue }
  let log = Log(ofDaemon: words[0] == "json" ? .json : .text)
  let client = Client(adopting: STDIN_FILENO)
  func note(_ failure: Failure) {
    // The daemon ends or reloads, and applies the directory when it starts again.
    guard !client.isGone, case .failed(_, let message) = failure else { return }
    log.write(.error, "not applied", [("reason", message)])
  }
  var files = AppletFiles()
  do throws(Failure) {
    var error: Int32 = 0
    if linux_real_path(words[1], &error) == nil, error == ENOENT {
      files.addMissing(words[1])
    } else {
      try files.add(words[1], note)
    }
    try Applying(client, isDryRun: false).apply(files, prunes: true, note) { change, name throws(Failure) in
      if change != .unchanged { log.write(.info, "applied", [("name", name), ("change", change.rawValue)]) }
    }
  } catch { note(error) }
  return ExitCode.success.rawValue
}

/// What was done for an applet.
enum Change: String { case started, changed, unchanged, removed }

/// Makes a daemon's applets those that files declare.
struct Applying {
  private let client: Client
  private let isDryRun: Bool

  init(_ client: Client, isDryRun: Bool) {
    self.client = client
    self.isDryRun = isDryRun
  }

  /// Applies files one after the other.
  /// - Parameters:
  ///   - prunes: whether applets that were declared in one of the directories, and are not any more, are removed.
  ///   - complain: called with the failure of one of them.
  ///   - report: called for each that was applied.
  /// - Throws: `Failure.failed(.host)` if the daemon has closed the connection.
  func apply(
    _ files: AppletFiles, prunes: Bool, _ complain: (Failure) -> Void,
    _ report: (Change, String) throws(Failure) -> Void
  ) throws(Failure) {
    let applets = try listed(client)
    for file in files.files {
      do throws(Failure) {
        let applet = applets.first { $0["name"] == .string(file.name) }
        try report(try apply(file, to: applet), file.name)
      } catch {
        if client.isGone { throw error }
        complain(error)
      }
    }
    guard prunes else { return }
    for applet in applets {
      let name = applet.text("name")
      guard let declared = Self.declared(applet), files.directories.contains(declared.directory),
        !files.files.contains(where: { $0.name == name })
      else { continue }
      do throws(Failure) {
        if !isDryRun {
          if Self.isAlive(applet) { try call("Stop", name, unless: ["NoSuchApplet", "WrongState"]) }
          try call("Remove", name, unless: ["NoSuchApplet"])
        }
        try report(.removed, name)
      } catch {
        if client.isGone { throw error }
        complain(error)
      }
    }
  }

  /// - Parameter applet: as the daemon has it; nil if there is none.
  private func apply(_ file: AppletFile, to applet: JSONValue?) throws(Failure) -> Change {
    var request = try file.request()
    let image: OwnedFD
    do {
      image = try OwnedFD(opening: request.image, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: LinuxKernel())
    } catch { throw .failed(.unreadable, "\(file.path): \(request.image): \(error.description)") }
    request.declared = try declaration(file, request, image)
    if let applet {
      guard let declared = Self.declared(applet) else {
        throw .failed(
          .refused,
          "\(file.path): there is an applet \(file.name) already that was not declared: remove it with swiftlet rm \(file.name)"
        )
      }
      if declared == request.declared { return .unchanged }
    }
    // Before the former one is stopped.
    try check(image, file, request)
    let isAlive = applet.map { Self.isAlive($0) } ?? false
    if !isDryRun {
      request.imageDescriptor = 0
      request.isReplacing = true
      do throws(Failure) { try start(request, image, inPlaceOfAlive: isAlive) } catch {
        if !client.isGone, case .failed(let code, let message) = error {
          throw .failed(code, "\(file.path): \(message)")
        }
        throw error
      }
    }
    // One that was to be started again has an empty version.
    let isNew = applet.map { !isAlive && Self.declared($0)?.version == "" } ?? true
    return isNew ? .started : .changed
  }

  /// - Parameter isAlive: whether there is an applet of this name that has not ended. It is stopped only if the daemon has no other
  ///   reason to reject the request.
  private func start(_ request: StartRequest, _ image: borrowing OwnedFD, inPlaceOfAlive isAlive: Bool) throws(Failure)
  {
    if isAlive {
      try client.send("Start", request.json, file: image.number)
      let reply = try client.next()
      guard reply.error == Interface.name + ".WrongState" else {
        _ = try accepted(reply, of: "Start")
        return
      }
      try call("Stop", request.name ?? "", unless: ["NoSuchApplet", "WrongState"])
    }
    _ = try client.call("Start", request.json, file: image.number)
  }

  /// What the file declares, with the digest of the image: equal to that of another time if nothing has changed.
  private func declaration(_ file: AppletFile, _ request: StartRequest, _ image: borrowing OwnedFD) throws(Failure)
    -> Declaration
  {
    let found: ImageDigest
    do { found = try ImageDigest(of: image) } catch {
      throw .failed(.unreadable, "\(file.path): \(request.image): \(error.description)")
    }
    if let digest = request.digest, digest != found {
      throw .failed(
        .image, "\(file.path): \(request.image): its digest is \(found.description), not \(digest.description)")
    }
    var hash = SHA256()
    hash.update(request.json.encoded ?? [])
    hash.update(Array(found.description.utf8))
    return Declaration(directory: file.directory, version: hash.finish())
  }

  /// Checks whether the image is one that this host can run.
  private func check(_ image: borrowing OwnedFD, _ file: AppletFile, _ request: StartRequest) throws(Failure) {
    guard let architecture = Architecture.host else { return }
    do throws(ImageError) {
      let copy = linux_dup(image.number)
      if let errno = Errno(result: copy) { throw ImageError.unreadable(errno) }
      _ = try AppletImage(
        OwnedFD(adopting: Int32(truncatingIfNeeded: copy), kernel: LinuxKernel()), architecture: architecture)
    } catch { throw .failed(error.exitCode, "\(file.path): \(request.image): \(error.description)") }
  }

  /// Makes a call about an applet. Some errors mean that there is nothing left to do.
  private func call(_ method: String, _ name: String, unless errors: [String]) throws(Failure) {
    try client.send(method, named(name))
    let reply = try client.next()
    if let error = reply.error, errors.contains(where: { error == Interface.name + "." + $0 }) { return }
    _ = try accepted(reply)
  }

  private static func declared(_ applet: JSONValue) -> Declaration? {
    guard case .string(let directory)? = applet["declared"]?["directory"],
      case .string(let version)? = applet["declared"]?["version"]
    else { return nil }
    return Declaration(directory: directory, version: version)
  }

  private static func isAlive(_ applet: JSONValue) -> Bool { !hasEnded(applet) }
}

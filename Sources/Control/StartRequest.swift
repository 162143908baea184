import JSON
import Launch

/// The parameters of `Start`.
public struct StartRequest: Equatable, Sendable {
  /// The name of the applet; nil for one that the daemon chooses.
  public var name: String?
  /// Path of the image; if the image was sent as a descriptor, a name for it, or empty.
  public var image = ""
  /// The index of the image's descriptor among those sent with the message; nil if the daemon opens the path.
  public var imageDescriptor: Int?
  /// The digest that the image must have; nil for any image.
  public var digest: ImageDigest?
  /// Whether the image was sent on the connection before (Upload); the path is only a name then.
  public var isUploaded = false
  /// The services of other programs that the applet can call.
  public var services: [ServiceAddress] = []
  /// The guest.
  public var guest = GuestSpec()
  /// Whether the applet can be sent input.
  public var hasInput = false
  /// The restart policy.
  public var restart = RestartPolicy()
  /// Whether memory and registers of the running applet can be accessed.
  public var isDebug = false
  /// Whether the applet is removed when it has ended.
  public var isRemoved = false
  /// Whether an applet of this name that has ended is replaced.
  public var isReplacing = false
  /// Where the applet is declared; nil if it is not.
  public var declared: Declaration?

  /// Maximum size of a path with its zero byte (PATH_MAX).
  static let maxPath = 4096

  /// A request with the defaults.
  public init() {}

  /// Checks the parameters of `Start`.
  /// - Throws: `InvalidParameter` for the first invalid one.
  public init(_ value: JSONValue) throws(ControlError) {
    let parameters = Parameters(value)
    if parameters.has("name") { name = try parameters.name() }
    image = try parameters.string("image") ?? ""
    imageDescriptor = try parameters.integer("image_descriptor", in: 0...15).map { Int($0) }
    isUploaded = try parameters.bool("image_uploaded")
    guard image.hasPrefix("/") || (image.isEmpty && (imageDescriptor != nil || isUploaded)),
      image.utf8.count < Self.maxPath
    else {
      throw .invalidParameter("image")
    }
    if let text = try parameters.string("digest") {
      digest = ImageDigest(text)
      if digest == nil { throw .invalidParameter("digest") }
    }
    for service in try parameters.array("services") {
      let entry = Parameters(service)
      guard let name = try entry.string("name"), let address = try entry.string("address"),
        let parsed = ServiceAddress(name: name, address: address)
      else { throw .invalidParameter("services") }
      services.append(parsed)
    }
    hasInput = try parameters.bool("input")
    if let policy = try parameters.object("restart") { restart = try RestartPolicy(policy) }
    isDebug = try parameters.bool("debug")
    isRemoved = try parameters.bool("remove")
    isReplacing = try parameters.bool("replace")
    if let declared = try parameters.object("declared") { self.declared = try Declaration(declared) }
    guest = try Self.guest(parameters)
  }

  /// The guest that the parameters describe.
  private static func guest(_ parameters: Parameters) throws(ControlError) -> GuestSpec {
    func number(_ name: String) throws(ControlError) -> UInt64? {
      try parameters.integer(name, in: 0...Int64.max).map { UInt64($0) }
    }
    var request = GuestRequest()
    request.arguments = try parameters.strings("arguments")
    if parameters.has("secure") { request.isSecure = try parameters.bool("secure") }
    request.memory = try number("memory")
    if let name = try parameters.string("layout") {
      request.layout = GuestField.layout(named: name)
      if request.layout == nil { throw .invalidParameter("layout") }
    }
    request.rpcLimit = try number("rpc_limit")
    request.hasCLINT = try parameters.bool("clint")
    request.cpus = try number("cpus")
    request.copies = try number("copies")
    // In the interface 0 means none.
    if request.copies == 0 { request.copies = nil }
    request.isParallel = try parameters.bool("parallel")
    if let limits = try parameters.object("limits") { request.limits = try GuestLimits(limits) }
    do { return try GuestSpec(request) } catch { throw ControlError(error) }
  }

  /// The parameters as JSON, which a client sends to the daemon, and the daemon to the worker.
  public var json: JSONValue {
    var members: [JSONMember] = []
    if let name { members.append(JSONMember("name", .string(name))) }
    if let imageDescriptor { members.append(JSONMember("image_descriptor", .integer(Int64(imageDescriptor)))) }
    if isUploaded { members.append(JSONMember("image_uploaded", .bool(true))) }
    if !image.isEmpty { members.append(JSONMember("image", .string(image))) }
    if let digest { members.append(JSONMember("digest", .string(digest.description))) }
    if !guest.arguments.isEmpty {
      members.append(JSONMember("arguments", .array(guest.arguments.map { .string($0) })))
    }
    if !services.isEmpty {
      let list: [JSONValue] = services.map {
        .object([JSONMember("name", .string($0.name)), JSONMember("address", .string("unix:" + $0.path))])
      }
      members.append(JSONMember("services", .array(list)))
    }
    if !guest.isSecure { members.append(JSONMember("secure", .bool(false))) }
    if guest.cpus > 1 { members.append(JSONMember("cpus", .integer(Int64(guest.cpus)))) }
    if guest.memory != GuestSpec().memory { members.append(JSONMember("memory", .integer(Int64(guest.memory)))) }
    if let layout = guest.layout {
      members.append(JSONMember("layout", .string(GuestField.name(of: layout).description)))
    }
    if guest.rpcLimit != GuestSpec().rpcLimit {
      members.append(JSONMember("rpc_limit", .integer(Int64(guest.rpcLimit))))
    }
    if guest.hasCLINT { members.append(JSONMember("clint", .bool(true))) }
    if let copies = guest.copies {
      members.append(JSONMember("copies", .integer(Int64(copies.count))))
      if copies.isParallel { members.append(JSONMember("parallel", .bool(true))) }
    }
    for (name, flag) in [
      ("input", hasInput), ("debug", isDebug), ("remove", isRemoved), ("replace", isReplacing),
    ] where flag {
      members.append(JSONMember(name, .bool(true)))
    }
    if restart.when != .no { members.append(JSONMember("restart", restart.json)) }
    if guest.limits != GuestLimits() { members.append(JSONMember("limits", guest.limits.json)) }
    if let declared { members.append(JSONMember("declared", declared.json)) }
    return .object(members)
  }
}

import CInterface
import JSON

/// The interfaces of the daemon: org.varlink.service, and the description of its own.
public enum Interface {
  /// The name of the control interface.
  public static let name = "org.swiftlet.Control"

  /// The description, from the file in share/varlink.
  public static var description: String {
    // Static bytes, of exactly this number.
    String(
      decoding: UnsafeRawBufferPointer(start: swiftlet_interface(), count: swiftlet_interface_size()), as: UTF8.self)
  }

  /// The interface that every Varlink service implements (https://varlink.org/Service).
  static let serviceDescription = """
    # The interface that every Varlink service has.
    interface org.varlink.service

    # Says which service this is, and which interfaces it has.
    method GetInfo() -> (
      vendor: string,
      product: string,
      version: string,
      url: string,
      interfaces: []string
    )

    # Gives the description of an interface.
    method GetInterfaceDescription(interface: string) -> (description: string)

    # The interface does not exist here.
    error InterfaceNotFound (interface: string)

    # The interface does not have this method.
    error MethodNotFound (method: string)

    # The method is known but not implemented.
    error MethodNotImplemented (method: string)

    # A parameter has a value that it cannot have.
    error InvalidParameter (parameter: string)

    # The caller may not do this.
    error PermissionDenied ()

    # The method answers more than once: the call must say that it takes that.
    error ExpectedMore ()

    """

  /// Executes a call of org.varlink.service.
  public static func service(_ call: Call, version: String) throws(ControlError) -> JSONValue {
    switch call.method {
    case "org.varlink.service.GetInfo":
      return .object([
        JSONMember("vendor", .string("Swiftlet")), JSONMember("product", .string("swiftlet")),
        JSONMember("version", .string(version)), JSONMember("url", .string("")),
        JSONMember("interfaces", .array([.string("org.varlink.service"), .string(name)])),
      ])
    case "org.varlink.service.GetInterfaceDescription":
      guard case .string(let interface)? = call.parameters["interface"] else { throw .invalidParameter("interface") }
      switch interface {
      case name: return .object([JSONMember("description", .string(description))])
      case "org.varlink.service": return .object([JSONMember("description", .string(serviceDescription))])
      default: throw .interfaceNotFound(interface)
      }
    default: throw .methodNotFound(call.method)
    }
  }
}

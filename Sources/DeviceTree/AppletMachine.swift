import Machine

extension MachineDescription {
  /// The machine of a secure context.
  ///
  /// Its tree is written at each start, and costs some hundred instructions a node and property: what an applet cannot use,
  /// it is not told.
  /// - Parameters:
  ///   - applet: where its memory lies.
  ///   - arguments: its name and arguments, each ended by a zero byte.
  public init(applet layout: SecureLayout, architecture: Architecture, arguments: [UInt8]) {
    self.init(
      architecture: architecture, kind: .applet,
      memory: [layout.image, layout.heap, layout.stack].filter { !$0.isEmpty },
      processors: Processors())
    chosen.arguments = arguments
    hypervisor = Hypervisor(method: architecture == .arm64 ? .svc : .ecall)
  }

  /// Bytes that the tree of a secure context with so many bytes of arguments can need.
  public static func treeRoom(_ argumentSize: Int) -> UInt64 { 2048 + UInt64(argumentSize) }
}

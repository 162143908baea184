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
      memory: [layout.image, layout.stack, layout.heap].filter { !$0.isEmpty },
      processors: Processors())
    chosen.arguments = arguments
    hypervisor = Hypervisor(method: architecture == .arm64 ? .svc : .ecall)
  }

  /// Bytes that the tree of a secure context with so many bytes of arguments can need.
  public static func treeRoom(_ argumentSize: Int, _ changes: TreeChanges) -> UInt64 {
    changes.room(2048 + UInt64(argumentSize))
  }
}

extension MachineDescription {
  /// Adds memory that another guest has, too. A program's own use of memory must leave it alone.
  package mutating func share(_ range: Range<UInt64>) {
    memory.append(range)
    if kind == .program { reserved.insert(ReservedMemory(name: "shared", range: range, isUnmapped: false), at: 0) }
  }
}

extension MachineDescription {
  /// The machine of a bare-metal program in system mode.
  public init(program layout: ProgramLayout, architecture: Architecture, arguments: [UInt8]) {
    self.init(architecture: architecture, kind: .program, memory: [layout.memory], processors: Processors())
    reserved = [
      ReservedMemory(name: "device-tree", range: layout.deviceTree, isUnmapped: false),
      ReservedMemory(name: "monitor", range: layout.monitor, isUnmapped: false),
    ]
    chosen.arguments = arguments
    hypervisor = Hypervisor(method: architecture == .arm64 ? .hvc : .sbi)
  }

  /// Bytes that the tree of a program with so many bytes of arguments, on so many processors, can need.
  public static func treeRoom(program argumentSize: Int, processors: Int, _ changes: TreeChanges) -> UInt64 {
    changes.room(8192 + UInt64(argumentSize) + UInt64(processors) * 1024)
  }
}

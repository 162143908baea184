import Machine

extension MachineDescription {
  /// The hardware of a secure context.
  ///
  /// Its tree is written at each start, at a cost of some hundred instructions for a node or property. Therefore it has only what
  /// an applet can use.
  /// - Parameters:
  ///   - applet: the layout of its memory.
  ///   - arguments: its name and arguments, each terminated by a zero byte.
  public init(applet layout: SecureLayout, architecture: Architecture, arguments: [UInt8]) {
    self.init(
      architecture: architecture, kind: .applet, memory: layout.memory, cpus: CPUs())
    chosen.arguments = arguments
    hypervisor = Hypervisor(method: architecture.facts.appletCall)
  }

  /// Maximum size of a secure context's tree, in bytes, with arguments of this size.
  public static func maxTreeSize(_ argumentSize: Int, _ changes: TreeChanges) -> UInt64 {
    changes.maxSize(2048 + UInt64(argumentSize))
  }
}

extension MachineDescription {
  /// Adds memory that is shared with another guest. The program must not use it as its own.
  package mutating func share(_ range: Range<UInt64>) {
    memory.append(range)
    if kind == .program { reserved.insert(ReservedMemory(name: "shared", range: range, isUnmapped: false), at: 0) }
  }
}

extension MachineDescription {
  /// The hardware of a program in system mode.
  public init(program layout: ProgramLayout, architecture: Architecture, arguments: [UInt8]) {
    self.init(architecture: architecture, kind: .program, memory: [layout.memory], cpus: CPUs())
    reserved = [
      ReservedMemory(name: "device-tree", range: layout.deviceTree, isUnmapped: false),
      ReservedMemory(name: "monitor", range: layout.monitor, isUnmapped: false),
    ]
    chosen.arguments = arguments
    hypervisor = Hypervisor(method: architecture.facts.programCall)
  }

  /// Maximum size of a program's tree, in bytes, with arguments of this size and this number of CPUs.
  public static func maxTreeSize(program argumentSize: Int, cpus: Int, _ changes: TreeChanges) -> UInt64 {
    changes.maxSize(8192 + UInt64(argumentSize) + UInt64(cpus) * 1024)
  }
}

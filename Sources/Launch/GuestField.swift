import Machine

/// The kind of a guest.
public enum GuestKind: Equatable, Sendable {
  /// A secure context: user mode, one CPU.
  case applet
  /// A non-secure context: a program in system mode.
  case program
  /// Linux.
  case linux
}

/// The settings of a guest, each with its names and its range of values.
public enum GuestField: Equatable, Sendable {
  /// Size of the guest, and limits of its run and of its process.
  case memory, layout, clint, rpcLimit, cpus, deadline, cpuBudget, callBudget, processMemory, cpuPercent, threads
  /// Settings of applets and programs.
  case nonSecure, copies, parallel, faults, transport, peer
  /// Settings of Linux.
  case initrd, kernelArguments, disks, ports

  /// The option on the command line.
  public var option: StaticString {
    switch self {
    case .memory: "--memory"
    case .layout: "--layout"
    case .rpcLimit: "--rpc-limit"
    case .clint: "--clint"
    case .cpus: "--cpus"
    case .deadline: "--timeout"
    case .cpuBudget: "--cpu-budget"
    case .callBudget: "--call-budget"
    case .processMemory: "--process-memory"
    case .cpuPercent: "--cpu-percent"
    case .threads: "--threads"
    case .nonSecure: "--non-secure"
    case .copies: "--shadows"
    case .parallel: "--parallel"
    case .faults: "--inject-faults"
    case .transport: "--transport"
    case .peer: "--with-secure"
    case .initrd: "--initrd"
    case .kernelArguments: "--append"
    case .disks: "--disk"
    case .ports: "--port"
    }
  }

  /// The parameter in the control interface; empty for a setting that it does not have.
  public var parameter: StaticString {
    switch self {
    case .memory: "memory"
    case .layout: "layout"
    case .rpcLimit: "rpc_limit"
    case .clint: "clint"
    case .cpus: "cpus"
    case .deadline: "deadline"
    case .cpuBudget: "cpu_budget"
    case .callBudget: "call_budget"
    case .processMemory: "process_memory"
    case .cpuPercent: "cpu_percent"
    case .threads: "threads"
    case .nonSecure: "secure"
    case .copies: "copies"
    case .parallel: "parallel"
    case .faults, .transport, .peer, .initrd, .kernelArguments, .disks, .ports: ""
    }
  }

  /// Maximum number of CPUs: that of KVM's guests on arm64.
  private static let maxCPUs: UInt64 = 512
  /// A hundred years, which fit 64 bits as nanoseconds.
  private static let maxTime: UInt64 = 100 * 365 * 86_400_000_000_000

  /// The range of values: bytes, nanoseconds, percent, or a number.
  public func range(for kind: GuestKind) -> ClosedRange<UInt64> {
    switch self {
    case .memory:
      kind == .linux
        ? LinuxLayout.minMemory...LinuxLayout.maxMemory : SecureLayout.minMemory...SecureLayout.maxMemory
    case .cpus:
      switch kind {
      case .applet: 1...1
      case .program: 1...Self.maxCPUs
      case .linux: 1...UInt64(LinuxLayout.maxCPUs)
      }
    case .rpcLimit: 1024...64 << 20
    case .deadline, .cpuBudget, .callBudget: 1...Self.maxTime
    case .processMemory: 1 << 20...1 << 45
    case .cpuPercent: 1...100_000
    case .threads: 1...10_000
    case .copies: 1...8
    case .faults: 0...100
    case .layout, .clint, .nonSecure, .parallel, .transport, .peer, .initrd, .kernelArguments, .disks, .ports: 0...0
    }
  }

  /// Whether guests of this kind have the setting.
  func suits(_ kind: GuestKind) -> Bool {
    switch self {
    case .memory, .cpus, .deadline, .processMemory, .cpuPercent, .threads: true
    case .cpuBudget, .callBudget, .rpcLimit: kind != .linux
    case .layout, .clint, .copies, .parallel, .faults: kind == .applet
    case .nonSecure, .transport: kind != .linux
    case .peer: kind != .applet
    case .initrd, .kernelArguments, .disks, .ports: kind == .linux
    }
  }

  /// A layout by its name, on the command line and in the control interface; nil for any other word.
  public static func layout(named name: String) -> SecureLayout.Kind? {
    switch name {
    case "compact": .compact
    case "contiguous": .contiguous
    default: nil
    }
  }

  /// The name of a layout.
  public static func name(of layout: SecureLayout.Kind) -> StaticString {
    switch layout {
    case .compact: "compact"
    case .contiguous: "contiguous"
    }
  }

  /// The range as text: "128K to 64G".
  func rangeText(for kind: GuestKind) -> String {
    let range = range(for: kind)
    switch self {
    case .memory, .processMemory, .rpcLimit: return "\(Self.size(range.lowerBound)) to \(Self.size(range.upperBound))"
    case .deadline, .cpuBudget, .callBudget: return "1ns to 36500d"
    case .layout, .clint, .cpus, .cpuPercent, .threads, .nonSecure, .copies, .parallel, .faults, .transport,
      .peer,
      .initrd, .kernelArguments, .disks, .ports:
      return "\(range.lowerBound) to \(range.upperBound)"
    }
  }

  /// A size in the format of the command line.
  private static func size(_ bytes: UInt64) -> String {
    var (number, unit) = (bytes, 0)
    while number >= 1024, number & 1023 == 0, unit < 4 { (number, unit) = (number >> 10, unit + 1) }
    return "\(number)" + ["", "K", "M", "G", "T"][unit]
  }
}

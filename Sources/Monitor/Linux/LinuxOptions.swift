import CLinux
import DeviceTree
import Machine

/// What a Linux guest's machine consists of.
public struct LinuxOptions: Sendable {
  /// Path of the kernel.
  public var kernel: String
  /// Path of the initial file system; nil for none.
  public var initrd: String?
  /// The user's part of the kernel's command line.
  public var arguments = ""
  public var processors = 1
  /// Bytes of memory.
  public var memory = LinuxLayout.defaultMemory
  public var disks: [Disk] = []
  public var ports: [Port] = []
  /// What to make of the generated device tree.
  public var deviceTree = TreeChanges()
  /// The console's descriptors.
  public var input: Int32 = STDIN_FILENO
  public var output: Int32 = STDOUT_FILENO
  /// CLOCK_MONOTONIC nanoseconds after which the run ends; nil for never.
  public var deadline: Int64?

  public init(kernel: String) { self.kernel = kernel }

  public struct Disk: Sendable {
    public var path: String
    public var isReadOnly: Bool

    public init(path: String, isReadOnly: Bool) {
      self.path = path
      self.isReadOnly = isReadOnly
    }
  }

  /// A channel between a program in the guest and a program on the host.
  public struct Port: Sendable {
    /// What it is called in the guest.
    public var name: String
    public var end: End

    /// The host's end.
    public enum End: Sendable {
      /// The path of a Unix socket, where the host's programs find it.
      case socket(path: String)
      /// A stream socket, which the machine takes over.
      case connection(Int32)
    }

    public init(name: String, end: End) {
      self.name = name
      self.end = end
    }
  }

  /// Most disks and ports.
  public static let mostDisks = LinuxLayout.mostVirtio - 3
  public static let mostPorts = 16

  /// The kernel's command line: the user's words, and what they leave open. Without a console of the user's it is the serial
  /// port, whose driver every kernel has built in; without a word on panics a kernel that panics asks for a reset at once,
  /// instead of standing still for ever.
  public var commandLine: String {
    let words = arguments.split(separator: " ")
    var line = ""
    if !words.contains(where: { $0.hasPrefix("console=") }) { line += "console=ttyS0 " }
    if !words.contains(where: { $0.hasPrefix("panic=") }) { line += "panic=-1 " }
    return line + arguments
  }

  /// Whether the console that the kernel uses for its first program is the virtio console: what is typed goes there.
  public var usesVirtioConsole: Bool {
    arguments.split(separator: " ").last { $0.hasPrefix("console=") }?.hasPrefix("console=hvc") ?? false
  }
}

import CLinux
import DeviceTree
import Machine

/// Options of a Linux guest.
public struct LinuxOptions: Equatable, Sendable {
  /// Path of the kernel.
  public var kernel: String
  /// Path of the initrd; nil for none.
  public var initrd: String?
  /// The user's part of the kernel's command line.
  public var arguments = ""
  /// Number of CPUs.
  public var cpus = 1
  /// Bytes of memory.
  public var memory = LinuxLayout.defaultMemory
  /// The disks, /dev/vda and so on.
  public var disks: [Disk] = []
  /// The ports to programs on the host.
  public var ports: [Port] = []
  /// Changes of the generated device tree.
  public var deviceTree = TreeChanges()
  /// The descriptor of the console's input.
  public var input: Int32 = STDIN_FILENO
  /// The descriptor of the console's output.
  public var output: Int32 = STDOUT_FILENO
  /// The CLOCK_MONOTONIC time in nanoseconds at which the run ends; nil for none.
  public var deadline: Int64?

  /// The defaults, with a kernel.
  public init(kernel: String) { self.kernel = kernel }

  /// A disk.
  public struct Disk: Equatable, Sendable {
    /// Path of a disk image or block device.
    public var path: String
    /// Whether the guest cannot write to it.
    public var isReadOnly: Bool

    /// A disk from a file.
    public init(path: String, isReadOnly: Bool) {
      self.path = path
      self.isReadOnly = isReadOnly
    }
  }

  /// A channel between a program in the guest and a program on the host (a port of the virtio console).
  public struct Port: Equatable, Sendable {
    /// The port's name in the guest.
    public var name: String
    /// The host's end.
    public var end: End

    /// The host's end.
    public enum End: Equatable, Sendable {
      /// The path of the Unix socket that is created for programs on the host.
      case socket(path: String)
      /// A stream socket, which the machine owns from then on. It is closed if the machine cannot be created.
      case connection(Int32)
    }

    /// A port with this name.
    public init(name: String, end: End) {
      self.name = name
      self.end = end
    }
  }

  /// Maximum number of disks.
  public static let maxDisks = LinuxLayout.maxVirtioDevices - 3
  /// Maximum number of ports.
  public static let maxPorts = 16

  /// The kernel's command line: the user's arguments, with defaults for console and panics. The default console is the
  /// serial port, whose driver every kernel has built in. By default a kernel that panics requests a reset at once,
  /// instead of halting.
  public var commandLine: String {
    let parameters = parameters
    var line = ""
    if !parameters.contains(where: { $0.hasPrefix("console=") }) { line += "console=ttyS0 " }
    if !parameters.contains(where: { $0.hasPrefix("panic=") }) { line += "panic=-1 " }
    return line + arguments
  }

  /// Whether the console of the kernel's first process is the virtio console, which then gets the input.
  public var usesVirtioConsole: Bool {
    parameters.last { $0.hasPrefix("console=") }?.hasPrefix("console=hvc") ?? false
  }

  /// The user's arguments, split as the kernel does (lib/cmdline.c, next_arg): at white space outside double quotes, up
  /// to "--", after which they belong to the first process. Quotes are removed.
  private var parameters: [String] {
    var parameters: [String] = []
    var parameter: [UInt8] = []
    var isQuoted = false
    for byte in Array(arguments.utf8) + [0] {
      switch byte {
      case UInt8(ascii: "\""): isQuoted.toggle()
      // The kernel's isspace(): tab to carriage return, and space.
      case 0,
        0x20 where !isQuoted, 0x09...0x0d where !isQuoted:
        if parameter.elementsEqual("--".utf8) { return parameters }
        if !parameter.isEmpty { parameters.append(String(decoding: parameter, as: UTF8.self)) }
        parameter.removeAll()
      default: parameter.append(byte)
      }
    }
    return parameters
  }
}

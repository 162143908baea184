import Applet
import CLinux
import DeviceTree
import KVM
import Machine
import Monitor
import Platform
import Supervisor

/// The options of `swiftlet run` that are about a Linux guest alone.
let linuxOptions = [
  Option("linux", argument: "IMAGE", help: "run Linux: a kernel for this host's architecture"),
  Option("initrd", argument: "FILE", help: "Linux: its initial file system"),
  Option("append", argument: "TEXT", help: "Linux: words for its command line; may be repeated"),
  Option(
    "disk", argument: "FILE[,ro]", help: "Linux: a disk in a file or on a device, /dev/vda and so on; may be repeated"),
  Option(
    "port", argument: "NAME=SOCKET", help: "Linux: a channel to a program here, through a Unix socket; may be repeated"),
]

/// What the words of `swiftlet run --linux` ask for.
struct LinuxRequest {
  var tree = TreeRequest()
  var options = LinuxOptions(kernel: "")
  /// Path of the applet beside it; nil for none.
  var applet: String?
  var timeout: Int64?
  var isSandboxed = true
  var isVerbose = false

  init(_ words: ParsedWords) throws(Failure) {
    for (index, value) in words.options {
      let name = runOptions[index].long.description
      switch name {
      case "linux": options.kernel = value
      case "initrd": options.initrd = value
      case "append": options.arguments += (options.arguments.isEmpty ? "" : " ") + value
      case "cpus":
        guard let count = parseSize(value), count >= 1, count <= UInt64(LinuxLayout.mostProcessors) else {
          throw .usage(.run, "--cpus '\(value)' is out of range: give 1 to \(LinuxLayout.mostProcessors)")
        }
        options.processors = Int(count)
      case "memory":
        guard let size = parseSize(value), size >= LinuxLayout.leastMemory, size <= LinuxLayout.mostMemory else {
          throw .usage(.run, "--memory '\(value)' is no size for Linux: give 64M to 512G")
        }
        options.memory = size
      case "disk":
        let isReadOnly = value.hasSuffix(",ro")
        let path = isReadOnly ? String(value.dropLast(3)) : value
        guard options.disks.count < LinuxOptions.mostDisks else {
          throw .usage(.run, "--disk: no more than \(LinuxOptions.mostDisks) disks")
        }
        options.disks.append(LinuxOptions.Disk(path: path, isReadOnly: isReadOnly))
      case "port":
        let parts = value.split(separator: "=", maxSplits: 1)
        guard parts.count == 2 else {
          throw .usage(.run, "--port '\(value)' names no socket: give NAME=SOCKET, such as applet=/tmp/applet.sock")
        }
        guard options.ports.count < LinuxOptions.mostPorts else {
          throw .usage(.run, "--port: no more than \(LinuxOptions.mostPorts) ports")
        }
        options.ports.append(LinuxOptions.Port(name: String(parts[0]), end: .socket(path: String(parts[1]))))
      case "with-secure":
        guard applet == nil else { throw .usage(.run, "--with-secure: no more than one applet") }
        applet = value
      case "timeout": timeout = try RunRequest.duration("--timeout", value)
      case "no-sandbox": isSandboxed = false
      case "verbose": isVerbose = true
      default:
        if tree.take(name, value) { continue }
        throw .usage(.run, "--\(name) is for applets, and --linux runs none")
      }
    }
    if let word = words.operands.first {
      throw .usage(.run, "'\(word)': Linux takes its words from --append")
    }
    // A command line is one line, and ends at a zero byte; arm64 and riscv64 keep 2048 and 1024 bytes of it.
    guard options.commandLine.utf8.count < 1024 else {
      throw .usage(.run, "--append: the command line is longer than the 1023 bytes that Linux keeps")
    }
  }
}

extension LinuxRequest {
  /// Loads the kernel and makes the machine that is asked for, and the applet beside it.
  func makeMachine(_ kernel: any Kernel) throws(Failure) -> (machine: LinuxMachine, applet: AppletBeside?) {
    guard let architecture = Architecture.host else {
      throw .failed(
        .host, "this host is neither ARM64 nor RISC-V: guests run there, or on an emulated board (make run)")
    }
    var options = options
    options.deviceTree = try tree.read(kernel)
    if let timeout { options.deadline = Clock.monotonic.addingSaturating(timeout) }
    let system: System
    do { system = try System(kernel: kernel) } catch { throw .failed(.host, error.description) }
    var beside: AppletBeside?
    if let applet {
      let made = try AppletBeside(path: applet, system: system, architecture: architecture)
      options.ports.append(made.port)
      beside = made
    }
    do {
      let machine = try LinuxMachine(options, system: system, architecture: architecture) {
        // The terminal is raw: a line feed alone would not bring it back to the first column.
        complain("swiftlet: \($0)\r")
      }
      return (machine, beside)
    } catch { throw failure(error) }
  }
}

/// `swiftlet run --linux`.
func runLinux(_ words: ParsedWords) throws(Failure) -> Int32 {
  let request = try LinuxRequest(words)
  let kernel = LinuxKernel()
  var remover: Int32?
  if request.isSandboxed {
    try closeInherited()
    remover = try request.makeSocketRemover()
  }
  defer { if let remover { linux_remove_sockets(remover) } }
  let path = request.options.kernel
  // The machine ends before its sockets are removed.
  switch try request.run(kernel) {
  case .poweredOff: return Status.success.rawValue
  case .reset(isSilent: false): throw .failed(.reset, "\(path): asked for a reset")
  case .reset(isSilent: true):
    throw .failed(
      .reset, "\(path): asked for a reset before it wrote anything: --append earlycon shows its first words")
  case .panicked(let message): throw .failed(.panic, "\(path): kernel panic: \(message)")
  case .timeLimit: throw .failed(.timeLimit, "\(path): \(ExecError.limit(.deadline).description)")
  case .stopped: throw .failed(.stopped, "\(path): stopped")
  }
}

extension LinuxRequest {
  /// Makes the machine and runs it, in the sandbox.
  fileprivate func run(_ kernel: any Kernel) throws(Failure) -> LinuxOutcome {
    let (machine, applet) = try makeMachine(kernel)
    if isVerbose {
      complain("swiftlet: command line: \(options.commandLine)")
      complain("swiftlet: interrupts: \(machine.interruptControllerName)")
    }
    // A reader of the output that is gone is an error like any other, and the terminal wants to be put back in order.
    linux_ignore_broken_pipes()
    do throws(Errno) {
      for signal in [SIGTERM, SIGINT, SIGHUP] { try machine.stop(on: signal, kernel: kernel) }
    } catch { throw .failed(.host, LinuxError.host(error).description) }
    // Before the first thread: those that are there would keep their rights.
    try enterSandbox(isSandboxed, machine.description.architecture, for: .linux)
    try applet?.start()
    defer { applet?.stop() }
    do { return try machine.run() } catch { throw failure(error) }
  }

  /// Starts what removes the ports' sockets in the end: this process may not, in the sandbox.
  /// - Returns: its descriptor, for the rest of this process's life; nil where there are none.
  fileprivate func makeSocketRemover() throws(Failure) -> Int32? {
    var paths: [CChar] = []
    for port in options.ports {
      guard let path = port.path else { continue }
      for byte in path.utf8 { paths.append(CChar(bitPattern: byte)) }
      paths.append(0)
    }
    guard !paths.isEmpty else { return nil }
    paths.append(0)
    do { return Int32(truncatingIfNeeded: try checked(linux_socket_remover(paths))) } catch {
      throw .failed(.host, LinuxError.host(error).description)
    }
  }
}

extension LinuxRequest {
  fileprivate func failure(_ error: LinuxError) -> Failure {
    switch error {
    case .kernel(let problem):
      .failed(problem.isUnreadable ? .unreadable : .image, "\(options.kernel): \(error.description)")
    case .layout: .failed(.image, "\(options.kernel): \(error.description)")
    case .initrd: .failed(.unreadable, "\(options.initrd ?? ""): \(error.description)")
    case .disk(let number, _): .failed(.unreadable, "\(options.disks[number].path): \(error.description)")
    case .port(let number, _): .failed(.unreadable, "\(options.ports[number].path ?? ""): \(error.description)")
    case .unexpectedExit: .failed(.brokeRule, "\(options.kernel): \(error.description)")
    case .deviceTree(let error): tree.failure(error, options.kernel)
    case .noInterruptController, .processors, .hostMemory, .kvm, .host, .output: .failed(.host, error.description)
    }
  }
}

extension LinuxOptions.Port {
  fileprivate var path: String? { if case .socket(let path) = end { path } else { nil } }
}

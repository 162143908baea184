import CLinux
import DeviceTree
import KVM
import Launch
import Machine
import Monitor
import Platform

extension RunArguments {
  /// Loads the kernel, and creates the VM and the peer.
  func makeMachine(_ options: LinuxOptions, peer: String?, _ kernel: any Kernel) throws(Failure)
    -> (machine: LinuxMachine, peer: LinuxPeer?)
  {
    do throws(LaunchError) {
      let architecture = try GuestSpec.hostArchitecture()
      let system = try GuestSpec.openSystem(kernel)
      var options = options
      var applet: LinuxPeer?
      if let peer {
        let made = try LinuxPeer(path: peer, self, system: system, architecture: architecture)
        options.ports.append(made.port)
        applet = made
      }
      let machine = try spec.makeMachine(options, system: system, architecture: architecture) {
        // The terminal is in raw mode, and needs a carriage return.
        complain("swiftlet: \($0)\r")
      }
      return (machine, applet)
    } catch { throw Failure(error) }
  }
}

/// `swiftlet run --linux`.
func runLinux(_ arguments: RunArguments, _ options: LinuxOptions, peer: String?) throws(Failure) -> RunEnd {
  let remover = arguments.isSandboxed ? try startSocketRemover(options.ports) : nil
  defer { if let remover { linux_remove_sockets(remover) } }
  let path = options.kernel
  // The VM ends before its sockets are removed.
  switch try runMachine(arguments, options, peer: peer, LinuxKernel()) {
  case .poweredOff: return RunEnd(.shutdown)
  case .reset(isSilent: false): throw .failed(.reset, "\(path): requested a reset")
  case .reset(isSilent: true):
    throw .failed(
      .reset, "\(path): requested a reset before any output: use --append earlycon to see early messages")
  case .panicked(let message): throw .failed(.panic, "\(path): kernel panic: \(message)")
  case .timeLimit: throw .failed(.timeLimit, "\(path): \(ExecError.limit(.deadline).description)")
  case .stopped: throw .failed(.stopped, "\(path): stopped")
  }
}

/// Creates the VM and runs it in the sandbox.
private func runMachine(_ arguments: RunArguments, _ options: LinuxOptions, peer: String?, _ kernel: any Kernel)
  throws(Failure) -> LinuxOutcome
{
  let (machine, applet) = try arguments.makeMachine(options, peer: peer, kernel)
  if arguments.isVerbose {
    complain("swiftlet: command line: \(options.commandLine)")
    complain("swiftlet: interrupts: \(machine.interruptControllerName)")
  }
  // A closed output must be an ordinary error, since the terminal has to be restored.
  linux_ignore_broken_pipes()
  do throws(Errno) {
    for signal in [SIGTERM, SIGINT, SIGHUP] { try machine.stop(on: signal, kernel: kernel) }
  } catch { throw Failure(.host(error)) }
  // Before the first thread: existing threads would not be restricted.
  try enterSandbox(arguments, machine.description.architecture, for: .linux(services: !arguments.services.isEmpty))
  try applet?.start()
  defer { applet?.stop() }
  do { return try machine.run() } catch { throw Failure(arguments.spec.failure(error, options)) }
}

/// Starts the process that removes the ports' sockets at the end, which this process may not do in the sandbox.
/// - Returns: its descriptor, until this process ends; nil if there are no ports.
private func startSocketRemover(_ ports: [LinuxOptions.Port]) throws(Failure) -> Int32? {
  var paths: [CChar] = []
  for port in ports {
    guard let path = port.path else { continue }
    for byte in path.osBytes { paths.append(CChar(bitPattern: byte)) }
    paths.append(0)
  }
  guard !paths.isEmpty else { return nil }
  paths.append(0)
  do { return Int32(truncatingIfNeeded: try checked(linux_socket_remover(paths))) } catch {
    throw Failure(.host(error))
  }
}

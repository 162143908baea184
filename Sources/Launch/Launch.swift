import Applet
import CLinux
import DeviceTree
import KVM
import Machine
import Monitor
import Platform

extension GuestSpec {
  /// The host's architecture.
  /// - Throws: `LaunchError.architecture` if it is not supported.
  public static func hostArchitecture() throws(LaunchError) -> Architecture {
    guard let architecture = Architecture.host else { throw .architecture }
    return architecture
  }

  /// Opens `/dev/kvm`.
  public static func openSystem(_ kernel: any Kernel) throws(LaunchError) -> System {
    do { return try System(kernel: kernel) } catch { throw .kvm(error) }
  }

  /// Reads an applet's file.
  public static func loadImage(_ path: String, _ architecture: Architecture, _ kernel: any Kernel)
    throws(LaunchError) -> AppletImage
  {
    do { return try AppletImage(path: path, architecture: architecture, kernel: kernel) } catch {
      throw .image(path, error)
    }
  }

  /// Creates the context of an applet or a program in system mode, with its copies. All guests are created here. Limits start with
  /// the run (`GuestLimits.apply`), and the peer of a program has a context of its own (`connect`).
  /// - Parameters:
  ///   - image: consumed.
  ///   - name: the guest's first argument, and the file in errors.
  /// - Throws: `LaunchError`, after releasing everything.
  public func makeContext(
    _ image: consuming AppletImage, name: String, system: borrowing System, architecture: Architecture
  ) throws(LaunchError) -> ExecCtx {
    if !architecture.facts.usesSMCCC, transport != nil { throw .noTransportChoice }
    if hasCLINT, isSecure, architecture.facts.mtime == nil { throw .noCLINT }
    var options = ExecCtx.Options()
    options.transport = transport
    options.cpus = cpus
    options.arguments.reserveCapacity(1 + arguments.count)
    options.arguments.append(name)
    options.arguments += arguments
    options.sharesMemory = sharesMemory
    options.layout = layout
    options.hasCLINT = hasCLINT
    options.deviceTree = try tree.read(system.kernel)
    options.input = input
    options.output = output
    let context: ExecCtx
    do {
      context = try ExecCtx(
        image: image, secure: isSecure, memorySize: memory, system: system, architecture: architecture, options: options
      )
    } catch { throw failure(error, name) }
    context.rpcLimit = rpcLimit
    if let copies {
      var shadows: [ExecCtx] = []
      do { for _ in 0..<copies.count { shadows.append(try context.clone(on: system)) } } catch { throw .kvm(error) }
      do { try context.setShadows(shadows, parallel: copies.isParallel) } catch { throw .lockstep(error) }
    }
    return context
  }

  private func failure(_ error: LoadError, _ name: String) -> LaunchError {
    switch error {
    case .image(let error): .image(name, error)
    case .deviceTree(let error): .deviceTree(tree.path(of: error, program: name), error)
    case .kvm(.failed(.setDeviceAttribute, _)) where transport == .hvc: .noHypercallFilter
    case .kvm(let error): .kvm(error)
    case .argument, .cpus, .noAArch32, .memory: .context(name, error)
    }
  }

  /// Loads Linux and creates its VM.
  /// - Parameters:
  ///   - options: those of the mode, with the caller's ports.
  ///   - complain: called on any thread with an error of a guest's driver: a sentence, once for a device.
  public func makeMachine(
    _ options: LinuxOptions, system: borrowing System, architecture: Architecture,
    complain: @escaping @Sendable (String) -> Void
  ) throws(LaunchError) -> LinuxMachine {
    var options = options
    options.deviceTree = try tree.read(system.kernel)
    if let deadline = limits.deadline { options.deadline = Clock.monotonic.addingSaturating(deadline) }
    do {
      return try LinuxMachine(options, system: system, architecture: architecture, complain: complain)
    } catch { throw failure(error, options) }
  }

  /// The error of a Linux guest, with the file that it concerns.
  public func failure(_ error: LinuxError, _ options: LinuxOptions) -> LaunchError {
    switch error {
    case .kernel, .layout, .pageSize, .unexpectedExit, .access: .linux(error, file: options.kernel)
    case .initrd: .linux(error, file: options.initrd)
    case .disk(let number, _): .linux(error, file: options.disks[number].path)
    case .port(let number, _): .linux(error, file: options.ports[number].path)
    case .deviceTree(let error): .deviceTree(tree.path(of: error, program: options.kernel), error)
    case .noInterruptController, .cpus, .hostMemory, .kvm, .host, .output, .running: .linux(error, file: nil)
    }
  }
}

extension LinuxOptions.Port {
  /// The path of its socket; nil if it is already connected.
  public var path: String? { if case .socket(let path) = end { path } else { nil } }
}

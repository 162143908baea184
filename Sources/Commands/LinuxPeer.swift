import CLinux
import KVM
import Launch
import Machine
import Monitor
import Platform

/// The secure peer of a Linux guest. Its input and output are a port of the guest: a program there writes a line to it, and reads
/// its answer.
final class LinuxPeer {
  private let path: String
  private let context: ExecCtx
  private let stopper: Stopper
  /// The peer's end of the socket pair.
  private let ownEnd: Int32
  private var thread: Thread?
  /// The guest's end, which is closed with its VM.
  let port: LinuxOptions.Port

  /// Loads an applet.
  init(path: String, _ arguments: RunArguments, system: borrowing System, architecture: Architecture)
    throws(LaunchError)
  {
    var (first, second): (Int32, Int32) = (-1, -1)
    do { _ = try checked(linux_socketpair(&first, &second)) } catch { throw .host(error) }
    context = try arguments.spec.peer(console: first).makeContext(
      try GuestSpec.loadImage(path, architecture, system.kernel), name: path, system: system,
      architecture: architecture)
    context.offerServices(of: arguments)
    stopper = context.stopper
    ownEnd = first
    port = LinuxOptions.Port(name: "secure", end: .connection(second))
    self.path = path
  }

  /// Runs it until its end.
  func start() throws(Failure) {
    // From here on only its thread uses the context.
    nonisolated(unsafe) let context = context
    let (path, ownEnd) = (path, ownEnd)
    do { thread = try Thread { Self.run(path, context, ownEnd) } } catch { throw Failure(.host(error)) }
  }

  private static func run(_ path: String, _ context: ExecCtx, _ ownEnd: Int32) {
    // The guest continues in any case. The terminal is in raw mode, and needs a carriage return.
    do throws(ExecError) {
      switch try context.run() {
      case .exited(0), .stopped, .shutdown, .reset: break
      case .exited(let status): complain("swiftlet: \(path): \(RunEnd(exited: status).reason)\r")
      }
    } catch { complain("swiftlet: \(path): \(context.description(of: error))\r") }
    // The guest sees the end of the channel.
    _ = linux_close(ownEnd)
  }

  /// Stops it and waits for its end.
  func stop() {
    guard let thread else { return }
    stopper.stop()
    // It is kicked repeatedly: the first kick may come just before it waits for the guest to read.
    stopper.waitUntilDone()
    thread.join()
  }
}

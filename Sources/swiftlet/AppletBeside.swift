import Applet
import CLinux
import DeviceTree
import KVM
import Machine
import Monitor
import Platform

/// A secure applet that runs beside a Linux guest. Its input and output are a port of the guest's: a program there calls it
/// with a line, and reads its answer.
final class AppletBeside: @unchecked Sendable {
  private let path: String
  private let context: ExecCtx
  /// The applet's end of the channel; closed when it has ended, so that the guest notices.
  private var ownEnd: OwnedFD?
  private var thread: Thread?
  /// What the guest gets. Its end is the machine's to close.
  let port: LinuxOptions.Port

  /// Loads an applet.
  init(path: String, system: borrowing System, architecture: Architecture) throws(Failure) {
    let kernel = system.kernel
    var (first, second): (Int32, Int32) = (-1, -1)
    do { _ = try checked(linux_socket_pair(&first, &second)) } catch {
      throw .failed(.host, LinuxError.host(error).description)
    }
    var options = ExecCtx.Options()
    options.arguments = [path]
    options.input = first
    options.output = first
    let image: AppletImage
    do { image = try AppletImage(path: path, architecture: architecture, kernel: kernel) } catch {
      throw .failed(error.isUnreadable ? .unreadable : .image, "\(path): \(error.description)")
    }
    do { context = try ExecCtx(image: image, system: system, architecture: architecture, options: options) } catch {
      switch error {
      case .image(let error): throw .failed(.image, "\(path): \(error.description)")
      case .deviceTree(let error): throw .failed(.image, "\(path): \(error.description)")
      case .kvm(let error): throw .failed(.host, error.description)
      }
    }
    context.server = makeServices()
    ownEnd = OwnedFD(adopting: first, kernel: kernel)
    port = LinuxOptions.Port(name: "secure", end: .connection(second))
    self.path = path
  }

  /// Lets it run, until its own end.
  func start() throws(Failure) {
    do { thread = try Thread { self.run() } } catch { throw .failed(.host, LinuxError.host(error).description) }
  }

  private func run() {
    // The guest goes on, whatever becomes of the applet. Its terminal is raw: a line feed alone would not do.
    do throws(ExecError) {
      switch try context.run() {
      case .exited(0), .stopped: break
      case .exited(let status): complain("swiftlet: \(path): exited with status \(status)\r")
      case .shutdown, .reset: break
      }
    } catch { complain("swiftlet: \(path): \(error.description)\r") }
    ownEnd = nil
  }

  /// Ends it and waits for its end.
  func stop() {
    guard let thread else { return }
    context.stop()
    // It is kicked until it is back: its first kick may come just before it begins to wait for the guest to read.
    _ = context.waitUntilDone()
    thread.join()
  }
}

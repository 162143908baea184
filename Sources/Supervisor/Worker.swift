import Applet
import CLinux
import Control
import JSON
import KVM
import Launch
import Machine
import Monitor
import Platform

/// A worker: the process in which the daemon runs one applet.
public enum Worker {
  /// The command that starts the program as a worker.
  public static let command = "worker"

  /// Why the applet could not be started.
  struct Failure: Error {
    let end: RunEnd
    /// Whether the image is the cause.
    var isImage = false

    init(host reason: String) { end = RunEnd(.host, reason: reason) }

    init(_ error: LaunchError) {
      end = RunEnd(error.exitCode, reason: error.reason)
      isImage = error.file != nil
    }
  }

  /// The main function: runs the applet of this worker.
  /// - Returns: the exit status.
  public static func run() -> Int32 { run(kernel: LinuxKernel(), architecture: Architecture.host) }

  static func run(kernel: any Kernel, architecture: Architecture?) -> Int32 {
    do throws(Failure) { return try perform(kernel, architecture) } catch {
      var members = [JSONMember("error", error.end.record)]
      if error.isImage { members.append(JSONMember("image", .bool(true))) }
      report(.object(members))
      return finish(error.end)
    }
  }

  private static func perform(_ kernel: any Kernel, _ architecture: Architecture?) throws(Failure) -> Int32 {
    guard let architecture else { throw Failure(.architecture) }
    let configuration = try readConfiguration(kernel)
    // The applet's name in ps(1), up to 12 bytes of it.
    linux_set_process_name("sw-" + configuration.name)
    let request = configuration.request
    let file = try keptImage(configuration, kernel)
    let context: ExecCtx
    do throws(LaunchError) {
      let image = try GuestSpec.loadImage(file, name: configuration.name, digest: request.digest, architecture)
      let system = try GuestSpec.openSystem(kernel)
      // The device is open: the rest needs no privileges.
      try leaveRoot(configuration)
      context = try request.guest.makeContext(
        image, name: configuration.name, system: system, architecture: architecture)
    } catch { throw Failure(error) }
    discardOldOutput(configuration.history)
    context.console.history = configuration.history
    // An incomplete record is left of a full disk.
    if linux_size(WorkerFile.times.rawValue) % Int(Console.timeSize) == 0 {
      context.console.times = WorkerFile.times.rawValue
    }
    let began = Clock.monotonic
    request.guest.limits.apply(to: context, since: began)
    let requests = WorkerRequests(request, began: began)
    do {
      let services = try AppletServices(configuration, values: WorkerFile.values.rawValue) { context.mustStopWaiting() }
      context.server = services.server
    } catch { throw Failure(host: error.message) }
    if let errno = Errno(result: linux_kick_when_ready(WorkerFile.requests.rawValue)) {
      throw Failure(host: "the worker cannot listen on its socket: \(errno.description)")
    }
    context.onReadable(WorkerFile.requests.rawValue) { requests.answer($0) }
    if configuration.isSandboxed {
      linux_limit_process(request.guest.descriptorLimit, request.guest.isSeveral)
      do { try Sandbox.enter(architecture, for: .worker(several: request.guest.isSeveral)) } catch {
        throw Failure(host: error.description)
      }
    }
    report(.object([JSONMember("running", .bool(true))]))
    // The record is written before the context is released: otherwise the allocator would map and unmap a page for each
    // of its values.
    return withExtendedLifetime(context) { finish(RunEnd(running: context)) }
  }

  /// The file to run: if a copy for restarts is made, that copy, so that restarts run the same image.
  private static func keptImage(_ configuration: WorkerConfiguration, _ kernel: any Kernel) throws(Failure) -> OwnedFD {
    let image = OwnedFD(adopting: WorkerFile.image.rawValue, kernel: kernel)
    let copy = OwnedFD(adopting: WorkerFile.imageCopy.rawValue, kernel: kernel)
    guard let maxSize = configuration.maxImageSize else { return image }
    switch Errno(result: linux_keep_image(image.number, copy.number, maxSize)) {
    case nil: return copy
    // A file of another type is reported as an invalid image later.
    case Errno.invalid: return image
    case Errno(EDQUOT): throw Failure(host: ImageStore.full)
    case let errno?: throw Failure(host: "cannot copy its image for restarts: \(errno.description)")
    }
  }

  private static func leaveRoot(_ configuration: WorkerConfiguration) throws(LaunchError) {
    guard let user = configuration.user, linux_is_root() else { return }
    if let errno = Errno(result: linux_setresuid(user, configuration.group ?? user)) { throw .user(user, errno) }
  }

  /// Writes the record of the end.
  /// - Returns: the exit status.
  private static func finish(_ end: RunEnd) -> Int32 {
    write(end.record, endedBy: 0x0a, to: .end)
    return end.code
  }

  /// Discards the output of earlier runs that exceeds the history, as a hole: a run with little output discards none
  /// itself.
  private static func discardOldOutput(_ history: Int64) {
    let size = Int64(linux_size(WorkerFile.console.rawValue))
    if size > history { _ = linux_punch_hole(WorkerFile.console.rawValue, size - history) }
  }

  private static func readConfiguration(_ kernel: any Kernel) throws(Failure) -> WorkerConfiguration {
    let contents: FileContents
    do {
      contents = try FileContents(
        OwnedFD(adopting: WorkerFile.configuration.rawValue, kernel: kernel), limit: MessageBuffer.limit * 2)
    } catch { throw Failure(host: "cannot read the worker's configuration: \(error.description)") }
    guard let value = JSONValue(parsing: contents.bytes), let configuration = WorkerConfiguration(value) else {
      throw Failure(host: "the worker's configuration is invalid")
    }
    return configuration
  }

  /// Reports to the daemon how the start went, if it still runs.
  private static func report(_ message: JSONValue) {
    write(message, endedBy: 0, to: .report)
    _ = linux_close(WorkerFile.report.rawValue)
  }

  private static func write(_ value: JSONValue, endedBy last: UInt8, to file: WorkerFile) {
    var bytes = value.encoded ?? []
    // Not `+ [last]`: the compiler (6.3, Embedded) may mix up such constants.
    bytes.append(last)
    // If this fails, the daemon reports the exit status of the process instead.
    do throws(Errno) { try writeAll(bytes, to: file.rawValue) } catch {}
  }
}

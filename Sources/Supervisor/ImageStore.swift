import CLinux
import Control
import Launch
import Platform

/// The images for restarts: a copy in the directory of each applet that may be restarted.
///
/// The worker makes the copy of the image that it is about to run, before it drops its privileges: reading a client's
/// file may block, which the daemon must not. Later runs use the copy, whatever happens to the file. Applets of an
/// older daemon may have no copy; their path is opened again.
enum ImageStore {
  /// Maximum total size, in bytes.
  static let maxBytes: Int64 = 512 << 20
  static let full =
    "the images for restarts would exceed \(maxBytes >> 20) MiB: stop or remove other applets first"
}

extension Daemon {
  /// Total size of the copies.
  private var imageBytes: Int64 { applets.reduce(0) { $0 + ($1.directory.image?.bytes ?? 0) } }

  /// Whether the copies exceed the maximum, as several simultaneous starts can cause.
  var hasTooManyImages: Bool { imageBytes > ImageStore.maxBytes }

  /// Opens an applet's image: the file that was sent, the copy, or its path.
  /// - Parameter sent: the descriptor that a client has sent, which is not closed; nil for none.
  func withImage<Result>(
    _ configuration: inout WorkerConfiguration, _ directory: AppletDirectory, sent: Int32?,
    _ body: (Int32, inout WorkerConfiguration) throws(ControlError) -> Result
  ) throws(ControlError) -> Result {
    let path = configuration.request.image
    configuration.maxImageSize = nil
    let isKept = directory.image?.isWhole ?? false
    if !isKept, configuration.request.restart.when != .no {
      configuration.keepsImage = true
      configuration.maxImageSize = max(ImageStore.maxBytes - imageBytes, 0)
    }
    if let sent { return try body(sent, &configuration) }
    if !isKept, path.isEmpty { throw .badImage("", reason: "it was sent as a descriptor to an earlier daemon") }
    if !isKept, configuration.request.isUploaded {
      throw .badImage(path, reason: "it was sent by another machine, and is not kept: start the applet from there")
    }
    let file: OwnedFD
    do throws(Errno) {
      file =
        isKept
        ? try directory.open("image", O_RDONLY)
        : try OwnedFD(opening: path, flags: O_RDONLY | O_NOCTTY | O_NONBLOCK, kernel: kernel)
    } catch { throw .badImage(path, reason: error.description) }
    return try body(file.number, &configuration)
  }
}

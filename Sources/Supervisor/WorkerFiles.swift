/// The descriptors of a worker. It inherits no others, and opens only /dev/kvm.
enum WorkerFile: Int32, CaseIterable {
  /// The applet's input.
  case input = 0
  /// The file of the console's history.
  case console
  /// The daemon's standard error, for messages of a crash.
  case standardError
  /// The `WorkerConfiguration`.
  case configuration
  /// The image.
  case image
  /// A listening socket: the daemon, or a later one, connects for each request.
  case requests
  /// The file for the record of the end.
  case end
  /// A pipe for one message: that the applet runs, or why not.
  case report
  /// The file of its values.
  case values
  /// The file for the copy of the image; /dev/null for no copy.
  case imageCopy
  /// The file of the times of its output.
  case times
  /// The input's other end, so that the input does not end with the daemon.
  case inputKeeper
}

/// The descriptors that the daemon starts a worker with; it has no others, and opens /dev/kvm alone.
enum WorkerFile: Int32, CaseIterable {
  /// The applet's input.
  case input = 0
  /// Its console's history: a file.
  case console
  /// The daemon's own standard error, for the last words of a crash.
  case complaints
  /// What to run: a `WorkerConfiguration`.
  case configuration
  /// The image.
  case image
  /// A listening socket: the daemon connects for each request, this one or the next that takes over.
  case requests
  /// Where the worker leaves how it ended: a file.
  case end
  /// A pipe that takes one message: that the applet runs, or why not.
  case report
  /// The values that it keeps: a file.
  case values
  /// The input's other end, so that it does not end when a daemon does.
  case inputKeeper
}

import CLinux
import Platform
import Synchronization

/// The events for which a source waits.
public struct IOInterest: Sendable {
  /// -1 for none.
  public var descriptor: Int32
  /// Whether to wait until the descriptor is readable, and writable. The end of the other side always ends the wait.
  public var input = true
  /// Whether to wait until the descriptor is writable.
  public var output = false
  /// When to call `prepare` again even without an event, in nanoseconds of CLOCK_MONOTONIC; nil for never.
  public var again: Int64?

  /// A descriptor, and the events to wait for.
  public init(descriptor: Int32, input: Bool = true, output: Bool = false) {
    self.descriptor = descriptor
    self.input = input
    self.output = output
  }

  /// No descriptor.
  public static let nothing = IOInterest(descriptor: -1)
}

/// The events of a source.
public struct IOEvents: OptionSet, Sendable {
  /// The events as bits.
  public let rawValue: Int
  /// Events from bits.
  public init(rawValue: Int) { self.rawValue = rawValue }
  /// The descriptor is readable.
  public static let input = IOEvents(rawValue: 1)
  /// The descriptor is writable.
  public static let output = IOEvents(rawValue: 2)
  /// The other side has closed, or the descriptor has failed.
  public static let end = IOEvents(rawValue: 4)
}

/// The host side of a device, which waits for a descriptor.
public protocol IOSource: AnyObject {
  /// Called on the I/O thread before it waits: does pending work, and returns what to wait for.
  func prepare() -> IOInterest
  /// Called on the I/O thread after events.
  func ready(_ events: IOEvents)
}

/// The thread that waits for host events of all devices, with poll(2).
///
/// Sendable because its state is set before the thread starts and then used only by the thread until it is joined; only `wake` is
/// called in between.
public final class IOLoop: @unchecked Sendable {
  private var sources: [any IOSource] = []
  private let event: OwnedFD
  private let isStopped = Atomic<Bool>(false)
  private var thread: Thread?
  private var watch: (@Sendable () -> Int64?)?

  /// - Throws: the kernel's error if it has no descriptors left.
  public init(kernel: any Kernel) throws(Errno) {
    event = OwnedFD(adopting: Int32(truncatingIfNeeded: try checked(linux_eventfd())), kernel: kernel)
  }

  /// Adds a source; to be called before `start`.
  public func add(_ source: any IOSource) { sources.append(source) }

  /// Sets the timer function; to be called before `start`. It is called before each wait and returns when to call it again, in
  /// nanoseconds of CLOCK_MONOTONIC; nil for after the next event.
  public func setWatch(_ watch: @escaping @Sendable () -> Int64?) { self.watch = watch }

  /// Starts the thread.
  public func start() throws(Errno) { thread = try Thread { self.run() } }

  /// Lets the thread ask its sources again what they wait for; from any thread.
  public func wake() { _ = linux_eventfd_write(event.number) }

  /// Ends and joins the thread, and releases the sources, some of which refer to this loop.
  public func stop() {
    isStopped.store(true, ordering: .sequentiallyConsistent)
    wake()
    thread?.join()
    thread = nil
    sources.removeAll()
    watch = nil
  }

  private func run() {
    withUnsafeTemporaryAllocation(of: pollfd.self, capacity: sources.count + 1) { wanted in
      while !isStopped.load(ordering: .sequentiallyConsistent) {
        var end = watch?()
        wanted[0] = pollfd(fd: event.number, events: Int16(POLLIN), revents: 0)
        for (index, source) in sources.enumerated() {
          let interest = source.prepare()
          let events = (interest.input ? POLLIN : 0) | (interest.output ? POLLOUT : 0)
          wanted[index + 1] = pollfd(fd: interest.descriptor, events: Int16(events), revents: 0)
          if let again = interest.again { end = min(end ?? .max, again) }
        }
        // Rounded up to milliseconds, so that it does not return too early.
        let left = end.map { Int32(clamping: max($0 - Clock.monotonic, 0) / 1_000_000 + 1) } ?? -1
        guard linux_poll(wanted.baseAddress, UInt(wanted.count), left) > 0 else { continue }
        if wanted[0].revents != 0 { _ = linux_eventfd_read(event.number) }
        for (index, source) in sources.enumerated() {
          let found = Int32(wanted[index + 1].revents)
          if found == 0 { continue }
          var events: IOEvents = []
          if found & POLLIN != 0 { events.insert(.input) }
          if found & POLLOUT != 0 { events.insert(.output) }
          if found & (POLLHUP | POLLERR | POLLNVAL) != 0 { events.insert(.end) }
          source.ready(events)
        }
      }
    }
  }
}

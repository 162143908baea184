import CLinux
import Platform
import Synchronization

/// What a source waits for at present.
public struct IOInterest: Sendable {
  /// -1 for nothing.
  public var descriptor: Int32
  /// Whether to wake it when the descriptor can be read, and written. It is always woken when the other side has gone.
  public var input = true
  public var output = false
  /// When to ask it again, CLOCK_MONOTONIC nanoseconds, though nothing has come; nil for never.
  public var again: Int64?

  public init(descriptor: Int32, input: Bool = true, output: Bool = false) {
    self.descriptor = descriptor
    self.input = input
    self.output = output
  }

  public static let nothing = IOInterest(descriptor: -1)
}

/// What has come.
public struct IOEvents: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }
  public static let input = IOEvents(rawValue: 1)
  public static let output = IOEvents(rawValue: 2)
  /// The other side has gone, or the descriptor has failed.
  public static let end = IOEvents(rawValue: 4)
}

/// A device's side towards the host: something that waits for a descriptor.
public protocol IOSource: AnyObject {
  /// Called on the I/O thread before it waits: does what can be done by now, and says what to wait for.
  func prepare() -> IOInterest
  /// Called on the I/O thread when it has come.
  func ready(_ events: IOEvents)
}

/// The thread that waits for the host on behalf of all devices: poll(2).
public final class IOLoop: @unchecked Sendable {
  private var sources: [any IOSource] = []
  private let event: OwnedFD
  private let isStopped = Atomic<Bool>(false)
  private var thread: Thread?
  private var watch: (@Sendable () -> Int64?)?

  /// - Throws: the kernel's error where it has no descriptors left.
  public init(kernel: any Kernel) throws(Errno) {
    event = OwnedFD(adopting: Int32(truncatingIfNeeded: try checked(linux_event())), kernel: kernel)
  }

  /// Adds a source; before the start.
  public func add(_ source: any IOSource) { sources.append(source) }

  /// Sets what looks after the time, before the start: called before each wait, it does what is due, and answers when it wants
  /// to be called again, CLOCK_MONOTONIC nanoseconds; nil for when something has come.
  public func setWatch(_ watch: @escaping @Sendable () -> Int64?) { self.watch = watch }

  /// Starts the thread.
  public func start() throws(Errno) { thread = try Thread { self.run() } }

  /// Lets the thread ask its sources again what they wait for; from any thread.
  public func wake() { _ = linux_event_signal(event.number) }

  /// Ends the thread, waits for its end, and lets go of the sources, of which some know this loop.
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
        // A millisecond too late rather than several times too early.
        let left = end.map { Int32(clamping: max($0 - Clock.monotonic, 0) / 1_000_000 + 1) } ?? -1
        guard linux_poll(wanted.baseAddress, UInt(wanted.count), left) > 0 else { continue }
        if wanted[0].revents != 0 { _ = linux_event_take(event.number) }
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

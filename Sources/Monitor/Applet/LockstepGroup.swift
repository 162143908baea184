import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

/// An applet and its copies that run in lockstep. It owns their guests, and records the event that ended each one's
/// last entry.
///
/// What concerns the whole run (stops, limits, the count of calls) belongs to the primary's context, which is passed to
/// each function.
final class LockstepGroup {
  /// One of the copies.
  final class Copy {
    let guest: GuestMachine
    /// The event that ended its last entry.
    var event = EntryEvent.call
    /// Whether the handler of this shadow was called after that entry.
    var isHandled = false

    init(_ guest: GuestMachine) { self.guest = guest }
  }

  /// The primary first, then its shadows.
  let copies: [Copy]
  /// The contexts of the shadows.
  let shadows: [ExecCtx]
  /// Injects faults into the copies.
  var faultInjection: FaultInjection?
  private let primary: Copy
  private let architecture: Architecture

  /// How the copies are run to their next events.
  private enum Schedule {
    case oneAfterAnother
    /// Each shadow on a thread of its own during a run.
    case parallel([LockstepWorker])
  }

  /// The progress of the copies.
  private enum Phase {
    /// All have reached their next events.
    case together
    /// A stop or a limit came before all of them had. Their events tell which ones have.
    case apart
  }

  /// Whether a shadow has a handler.
  private var hasHandlers = false
  private let isParallel: Bool
  private var schedule = Schedule.oneAfterAnother
  private var phase = Phase.together
  /// Kicks regularly, so that a copy that makes no call is noticed.
  private var timer: KickTimer?
  /// Nanoseconds between kicks.
  private static let tick: Int64 = 100_000_000
  /// The number of kicks after which a copy is interrupted to compare it with the others.
  private static let maxKicks = 3
  /// The number of kicks after which it is interrupted when another copy has made its call.
  private static let maxKicksOfLast = 20

  init(primary: GuestMachine, shadows: [ExecCtx], isParallel: Bool) {
    self.primary = Copy(primary)
    copies = [self.primary] + shadows.map { Copy($0.guest) }
    self.shadows = shadows
    self.isParallel = isParallel
    architecture = primary.architecture
    for shadow in shadows { shadow.applet?.isShadow = true }
  }

  deinit { for shadow in shadows { shadow.applet?.isShadow = false } }

  /// Called on the thread of the run, before its first entry.
  func begin() throws(Errno) {
    hasHandlers = shadows.contains { $0.handler != nil }
    timer = try KickTimer(.wall)
    try timer?.set(nanoseconds: Self.tick, interval: Self.tick)
    guard isParallel else { return }
    // If copies share CPUs, a thread that spins takes time from the others.
    let spins = linux_processor_count() >= copies.count ? 4000 : 0
    var workers: [LockstepWorker] = []
    do throws(Errno) {
      for copy in copies.dropFirst() { workers.append(try LockstepWorker(copy.guest, spins: spins)) }
    } catch {
      for worker in workers { worker.quit() }
      throw error
    }
    schedule = .parallel(workers)
  }

  /// Called when the run has ended.
  func end() {
    timer = nil
    if case .parallel(let workers) = schedule { for worker in workers { worker.quit() } }
    schedule = .oneAfterAnother
  }

  /// Runs each copy to its next call and compares them.
  /// - Throws: `ExecError`: that of the primary, or `.lockstep`.
  func step(_ context: ExecCtx, _ mode: AppletMode) throws(ExecError) {
    if faultInjection != nil, case .together = phase, context.calls > 0 { injectFault() }
    while true {
      // The kicks of this thread may be aimed at the vCPU of a shadow, which was entered last.
      primary.guest.cpu.vcpu.aim()
      if primary.guest.cpus.control.isStopRequested { primary.guest.cpu.vcpu.requestExit() }
      do throws(ExecError) {
        var agrees: Bool
        switch (phase, schedule) {
        case (.apart, _): agrees = try advanceRest(context)
        case (.together, .oneAfterAnother): agrees = try advanceInTurn(context)
        case (.together, .parallel(let workers)): agrees = try advanceAtOnce(workers, context)
        }
        if hasHandlers {
          try callHandlers(context)
          agrees = allAgree
        }
        if !agrees { try resolve(context, mode) }
      } catch {
        phase = .apart
        throw error
      }
      switch primary.event {
      case .call:
        mode.report.calls &+= 1
        if hasHandlers { for copy in copies { copy.isHandled = false } }
        return
      case .fault(let fault):
        guard try context.emulate(fault, mode, of: context.guests) else { throw context.describe(fault) }
      case .interrupted: throw .lockstep(difference(of: primary, 0))
      }
    }
  }

  /// Brings interrupted copies to the shim, so that their registers can be read and changed.
  func syncRegisters() throws(ExecError) {
    for copy in copies.reversed() where copy.event == .interrupted { try copy.guest.returnToShim() }
  }

  // MARK: Running copies

  /// Runs the primary and then its shadows to their next events.
  /// - Returns: whether all of them made the same call.
  @inline(__always)
  private func advanceInTurn(_ context: ExecCtx) throws(ExecError) -> Bool {
    for copy in copies { copy.event = .interrupted }
    var agrees = true
    for copy in copies {
      copy.event = try advance(copy, maxKicks: Self.maxKicks, context)
      agrees = agrees && copy.event == .call && (copy === primary || Self.equal(primary.guest, copy.guest))
    }
    return agrees
  }

  /// Runs the copies that have not reached their next events since the last run ended.
  private func advanceRest(_ context: ExecCtx) throws(ExecError) -> Bool {
    for copy in copies where copy.event == .interrupted {
      copy.event = try advance(copy, maxKicks: Self.maxKicks, context)
    }
    phase = .together
    return allAgree
  }

  /// Runs a copy to its next event.
  /// - Returns: `.interrupted` if it needs more kicks of the timer than it may take.
  @inline(__always)
  private func advance(_ copy: Copy, maxKicks: Int, _ context: ExecCtx) throws(ExecError) -> EntryEvent {
    var left = maxKicks
    return try copy.guest.run { () throws(ExecError) in
      guard left > 0 else { return true }
      left -= 1
      try context.checkStops()
      return false
    }
  }

  private var allAgree: Bool {
    copies.allSatisfy { $0.event == .call && ($0 === primary || Self.equal(primary.guest, $0.guest)) }
  }

  /// Runs all copies to their next events at the same time. If the primary is interrupted, all of them are, so that
  /// none is in the guest while a limit handler or a stop is handled.
  private func advanceAtOnce(_ workers: [LockstepWorker], _ context: ExecCtx) throws(ExecError) -> Bool {
    for copy in copies { copy.event = .interrupted }
    for _ in 0..<Self.maxKicks {
      try advanceOnce(workers)
      guard primary.event == .interrupted else { break }
      try context.checkStops()
    }
    return allAgree
  }

  /// Enters the copies that have not reached their next events once each.
  private func advanceOnce(_ workers: [LockstepWorker]) throws(ExecError) {
    for index in workers.indices where copies[index + 1].event == .interrupted { workers[index].start() }
    // Wait for all workers before throwing: none may continue to run.
    var failure: ExecError?
    do throws(ExecError) { primary.event = try primary.guest.run { true } } catch { failure = error }
    let isOver = failure != nil || primary.event == .interrupted
    let end = isOver ? 0 : Clock.monotonic + Self.tick * Int64(Self.maxKicks)
    for index in workers.indices where copies[index + 1].event == .interrupted {
      do throws(ExecError) { copies[index + 1].event = try workers[index].finish(by: end) } catch {
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
  }

  /// Calls the handlers of shadows that have come to a call, with the primary, before they are compared: as GoTEE does. They may
  /// change the shadow.
  @inline(never)
  private func callHandlers(_ context: ExecCtx) throws(ExecError) {
    guard primary.event == .call else { return }
    for (copy, shadow) in zip(copies.dropFirst(), shadows) where copy.event == .call && !copy.isHandled {
      copy.isHandled = true
      try shadow.handler?(context)
    }
  }

  // MARK: Differences

  /// Waits for the copies without an event, then repairs those that differ from the majority.
  private func resolve(_ context: ExecCtx, _ mode: AppletMode) throws(ExecError) {
    while true {
      let slow = copies.filter { $0.event == .interrupted }
      if slow.isEmpty { break }
      // If no copy has an event yet, all of them are just busy.
      let maxKicks = slow.count == copies.count ? Self.maxKicks : Self.maxKicksOfLast
      for copy in slow { copy.event = try advance(copy, maxKicks: maxKicks, context) }
      if slow.count < copies.count { break }
    }
    if hasHandlers { try callHandlers(context) }
    guard let right = majority(of: { $0.event != .interrupted }, agree) else { throw .lockstep(divergence()) }
    for copy in copies where !agree(copy, right) { try repair(copy, from: right, mode) }
  }

  private func agree(_ a: Copy, _ b: Copy) -> Bool {
    a === b || a.event == b.event && a.event != .interrupted && Self.equal(a.guest, b.guest)
  }

  /// A copy that more than half of all copies agree with.
  private func majority(of isCandidate: (Copy) -> Bool, _ agree: (Copy, Copy) -> Bool) -> Copy? {
    copies.first { candidate in
      isCandidate(candidate) && copies.filter { agree($0, candidate) }.count * 2 > copies.count
    }
  }

  /// The first difference between the primary and a shadow.
  private func divergence() -> Divergence {
    for (index, shadow) in copies.enumerated().dropFirst() {
      if shadow.event != primary.event { return difference(of: shadow, index) }
      let (theirs, ours) = (shadow.guest.frame, primary.guest.frame)
      for word in 0..<Int(APPLET_FRAME_WORDS) where theirs[word] != ours[word] {
        guard let name = architecture.frameWordName(word) else { continue }
        let difference = theirs[word] ^ ours[word]
        if word == Int(APPLET_FRAME_STATUS), difference & architecture.facts.steadyStatus == 0 { continue }
        return .register(name, copy: index, value: theirs[word], primary: ours[word])
      }
    }
    return difference(of: copies[1], 1)
  }

  private func difference(of copy: Copy, _ index: Int) -> Divergence {
    .event(copy: index, copy.guest.publicEvent(copy.event), primary: primary.guest.publicEvent(primary.event))
  }

  /// Makes a copy equal to another one.
  private func repair(_ wrong: Copy, from right: Copy, _ mode: AppletMode) throws(ExecError) {
    // An interrupted copy is in its own code, not in the shim.
    let isOutside = wrong.event == .interrupted
    let guest = wrong.guest
    guest.memory.copyContents(of: right.guest.memory)
    wrong.event = right.event
    guest.frame[Int(APPLET_FRAME_ON_ENTRY)] = UInt64(APPLET_ENTRY_FP | APPLET_ENTRY_FENCE)
    do throws(KVMError) {
      try guest.copyThreadPointer(of: right.guest)
      if isOutside { try guest.set(architecture.shimRestart(guest.memory.layout)) }
    } catch { throw .kvm(error) }
    if let index = copies.firstIndex(where: { $0 === wrong }) { mode.report.repairs[index] &+= 1 }
  }

  // MARK: Values from calls

  /// Checks that all copies pass the same bytes to a call.
  func checkInput(_ range: GuestRange, _ mode: AppletMode) throws(ExecError) {
    guard range.count > 0 else { return }
    let count = Int(range.count)
    func bytes(_ copy: Copy) -> UnsafeMutableRawBufferPointer { copy.guest.memory.bytes(at: range.start, count: count) }
    func agree(_ a: Copy, _ b: Copy) -> Bool {
      a === b || memcmp(bytes(a).baseAddress!, bytes(b).baseAddress!, count) == 0
    }
    if copies.allSatisfy({ agree(primary, $0) }) { return }
    guard let right = majority(of: { _ in true }, agree) else {
      for (index, shadow) in copies.enumerated().dropFirst() {
        for offset in 0..<count where bytes(shadow)[offset] != bytes(primary)[offset] {
          throw .lockstep(
            .input(
              address: range.start + UInt64(offset), copy: index, value: bytes(shadow)[offset],
              primary: bytes(primary)[offset]))
        }
      }
      return
    }
    for copy in copies where !agree(copy, right) { try repair(copy, from: right, mode) }
  }

  /// Copies the bytes that a call wrote for the primary to all shadows, if their memory is still mapped.
  func copyOutput(_ range: GuestRange, _ bytes: UnsafeRawBufferPointer) {
    for shadow in copies.dropFirst() {
      try? shadow.guest.memory.withBytes(range, for: []) { $0.copyMemory(from: bytes) }
    }
  }

  /// Flips a bit in one copy, if a fault is due.
  private func injectFault() {
    guard
      let (copy, register, bit) = faultInjection?.next(
        copies: copies.count, registers: architecture.facts.generalRegisters, bits: architecture.facts.registerBits)
    else { return }
    let faulty = copies[copy].guest
    faulty.frame[register] ^= 1 << UInt64(bit)
    faulty.loadRegisters()
    faultInjection?.report?(copy, architecture.registerName(register), bit)
  }

  // MARK: Comparison

  /// Whether two guests agree in all general registers, PC, status, cause and floating-point registers.
  static func equal(_ a: GuestMachine, _ b: GuestMachine) -> Bool {
    // Eight words for each iteration, with one branch for all of them: a branch for each word would cost more than the
    // words.
    let (x, y) = (a.frame, b.frame)
    var difference: UInt64 = 0
    func addEights(_ words: Range<Int>) {
      var word = words.lowerBound
      while word < words.upperBound {
        let first = (x[word] ^ y[word]) | (x[word + 1] ^ y[word + 1])
        let second = (x[word + 2] ^ y[word + 2]) | (x[word + 3] ^ y[word + 3])
        let third = (x[word + 4] ^ y[word + 4]) | (x[word + 5] ^ y[word + 5])
        let fourth = (x[word + 6] ^ y[word + 6]) | (x[word + 7] ^ y[word + 7])
        difference |= first | second | third | fourth
        word += 8
      }
    }
    addEights(0..<32)
    func add(_ word: Int32, _ mask: UInt64 = .max) { difference |= (x[Int(word)] ^ y[Int(word)]) & mask }
    add(APPLET_FRAME_PC)
    add(APPLET_FRAME_STATUS, a.architecture.facts.steadyStatus)
    add(APPLET_FRAME_CAUSE)
    // If their use is watched and neither copy has used them, they have not changed.
    if x[Int(APPLET_FRAME_ON_EXIT)] != UInt64(APPLET_EXIT_WATCH)
      || y[Int(APPLET_FRAME_ON_EXIT)] != UInt64(APPLET_EXIT_WATCH)
    {
      addEights(a.architecture.floatingPointWords)
      add(APPLET_FRAME_FP_CONTROL)
      add(APPLET_FRAME_FP_STATUS)
    }
    return difference == 0
  }
}

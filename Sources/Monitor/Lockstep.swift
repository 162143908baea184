import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Platform

/// What lockstep has seen.
public struct LockstepReport: Equatable, Sendable {
  /// Calls at which all copies agreed, at once or after a repair.
  public internal(set) var calls: UInt64 = 0
  /// Repairs of each copy from the majority; index 0 is the primary's, those of its shadows follow.
  public internal(set) var repairs: [UInt64] = []
}

extension ExecCtx {
  /// Whether two contexts agree in all general registers, PC, status, cause and floating-point registers. Not looked at is
  /// arm64's TPIDR_EL0, which would cost a quarter of a call each time: it is copied by `clone` and by repairs, and a fault in
  /// it shows where the applet uses it.
  public static func equal(_ a: ExecCtx, _ b: ExecCtx) -> Bool {
    // Eight words a turn and one branch for all of them: a branch a word would cost more than the words.
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
    add(APPLET_FRAME_STATUS, a.architecture.steadyStatus)
    add(APPLET_FRAME_CAUSE)
    // Where they are watched and neither has used them, they are what they were.
    if x[Int(APPLET_FRAME_ON_EXIT)] != UInt64(APPLET_EXIT_WATCH)
      || y[Int(APPLET_FRAME_ON_EXIT)] != UInt64(APPLET_EXIT_WATCH)
    {
      addEights(a.architecture.floatingPointWords)
      add(APPLET_FRAME_FP_CONTROL)
      add(APPLET_FRAME_FP_STATUS)
    }
    return difference == 0
  }

  /// The copies that run in lockstep with this context, each made by `clone`. At every call they must agree with it.
  ///
  /// With one shadow a difference ends the run. With two or more the majority is right: a copy that differs from it is
  /// repaired, counted in `lockstepReport`, and the run goes on. While there are shadows, time and randomness come through
  /// calls alone, and all copies are given the same.
  public var shadows: [ExecCtx] { lockstep?.shadows ?? [] }

  /// The first shadow.
  public var shadow: ExecCtx? { lockstep?.shadows.first }

  /// Sets the shadows; none ends lockstep. Not while the context runs.
  /// - Parameter parallel: each shadow runs on a thread of its own at the same time as the primary, instead of after it.
  /// - Throws: `KVMError` where the kernel cannot keep the counter from them.
  public func setShadows(_ shadows: [ExecCtx], parallel: Bool = false) throws(KVMError) {
    lockstep = shadows.isEmpty ? nil : Lockstep(primary: self, shadows: shadows, isParallel: parallel)
    lockstepReport.repairs = Array(repeating: 0, count: shadows.count + 1)
    for copy in [self] + shadows {
      copy.frame[Int(APPLET_FRAME_ON_EXIT)] = shadows.isEmpty ? 0 : UInt64(APPLET_EXIT_WATCH)
      if let watch = architecture.floatingPointWatch(isOn: !shadows.isEmpty) {
        try copy.vcpu.setRegister(watch.id, watch.value)
      }
      if !shadows.isEmpty || copy.mayReadCounter { try copy.allowCounter(shadows.isEmpty) }
    }
  }

  /// Faults to be put into the copies of a context in lockstep; nil for none.
  public var faultInjection: FaultInjection? {
    get { lockstep?.faultInjection }
    set { lockstep?.faultInjection = newValue }
  }

  /// Lets the applet read the architectural counter, or keeps it from it.
  func allowCounter(_ isAllowed: Bool) throws(KVMError) {
    let setting = architecture.counterAccess(isAllowed: isAllowed)
    try vcpu.setRegister(setting.id, setting.value)
  }
}

/// The copies of a context that run in lockstep.
final class Lockstep {
  /// Owns this object, and so outlives it.
  unowned(unsafe) let primary: ExecCtx
  let shadows: [ExecCtx]
  /// Makes them agree no more, for who wants to see it noticed.
  var faultInjection: FaultInjection?
  /// Kicks, so that a copy which never calls is noticed.
  private var timer: KickTimer?
  /// Nanoseconds between kicks.
  private static let tick: Int64 = 100_000_000
  /// Kicks that a copy may take before the others are looked at.
  fileprivate static let patience = 3
  /// Kicks that a copy may take once another has called.
  private static let longPatience = 20

  private let isParallel: Bool
  /// Whether a stop or a limit came before all copies had come to the same call; `event` says which have.
  private var isUnfinished = false
  /// A thread a shadow, while a parallel run is under way.
  private var workers: [LockstepWorker] = []

  init(primary: ExecCtx, shadows: [ExecCtx], isParallel: Bool) {
    self.primary = primary
    self.shadows = shadows
    self.isParallel = isParallel
  }

  private var count: Int { shadows.count + 1 }
  private func copy(_ index: Int) -> ExecCtx { index == 0 ? primary : shadows[index - 1] }

  /// A run begins on the calling thread.
  func begin() throws(Errno) {
    timer = try KickTimer(.wall)
    try timer?.set(nanoseconds: Self.tick, interval: Self.tick)
    guard isParallel else { return }
    // Where copies share processors, one that looks again and again takes time from the others.
    let spins = linux_processor_count() >= count ? 4000 : 0
    for shadow in shadows { workers.append(try LockstepWorker(shadow, spins: spins)) }
  }

  /// The run has ended.
  func end() {
    timer = nil
    for worker in workers { worker.quit() }
    workers = []
  }

  /// Runs every copy to its next call, and makes sure that they agree.
  /// - Throws: `ExecError`: what the primary raises, or `.lockstep`.
  func step() throws(ExecError) {
    let primary = self.primary
    // Behind the answer to the last call.
    if faultInjection != nil, !isUnfinished, primary.calls > 0 { injectFault() }
    while true {
      do throws(ExecError) {
        if isUnfinished {
          try advanceRest()
        } else if workers.isEmpty {
          try primary.advanceCopies(shadows)
        } else {
          try advanceAtOnce()
        }
        if !primary.agrees { try resolve() }
      } catch {
        isUnfinished = true
        throw error
      }
      switch primary.event {
      case .call:
        primary.lockstepReport.calls &+= 1
        return
      case .fault(let fault):
        guard try answerCounterRead(fault) else { throw primary.describe(fault) }
      case .interrupted, .ended: throw .lockstep(.event(copy: 0, primary.event, primary: primary.event))
      }
    }
  }

  /// Runs the copies that have not come to their next events when the last run ended.
  private func advanceRest() throws(ExecError) {
    for index in 0..<count where copy(index).event == .interrupted {
      copy(index).event = try copy(index).advance(patience: Self.patience, stopping: primary)
    }
    isUnfinished = false
    primary.agrees = allAgree
  }

  private var allAgree: Bool {
    primary.event == .call && shadows.allSatisfy { $0.event == .call && ExecCtx.equal(primary, $0) }
  }

  /// Runs all copies to their next events at the same time. Where the primary is interrupted, all of them are, so that whoever
  /// is asked about it finds them out of their guests.
  private func advanceAtOnce() throws(ExecError) {
    primary.event = .interrupted
    for shadow in shadows { shadow.event = .interrupted }
    for _ in 0..<Self.patience {
      try advanceOnce()
      guard primary.event == .interrupted else { break }
      primary.vcpu.clearExitRequest()
      try primary.checkStops()
    }
    primary.agrees = allAgree
  }

  /// Enters the copies that have not come to their next events, each once.
  private func advanceOnce() throws(ExecError) {
    for index in workers.indices where shadows[index].event == .interrupted { workers[index].start() }
    // Every turn is ended before anything is thrown: no worker may run on.
    var failure: ExecError?
    do throws(ExecError) { primary.event = try primary.enter() } catch { failure = error }
    let isOver = failure != nil || primary.event == .interrupted
    let end = isOver ? 0 : Clock.monotonic + Self.tick * Int64(Self.patience)
    for index in workers.indices where shadows[index].event == .interrupted {
      do throws(ExecError) { shadows[index].event = try workers[index].finish(by: end) } catch {
        failure = failure ?? error
      }
    }
    if let failure { throw failure }
  }

  /// Waits for the copies that have not come to an event, then repairs those that differ from the majority.
  private func resolve() throws(ExecError) {
    while true {
      let slow = (0..<count).filter { copy($0).event == .interrupted }
      if slow.isEmpty { break }
      // As long as nobody has come to an event, all are merely busy.
      let patience = slow.count == count ? Self.patience : Self.longPatience
      for index in slow { copy(index).event = try copy(index).advance(patience: patience, stopping: primary) }
      if slow.count < count { break }
    }
    guard let right = majority() else { throw .lockstep(divergence()) }
    for index in 0..<count where !agree(index, right) { try repair(index, from: right) }
  }

  private func agree(_ a: Int, _ b: Int) -> Bool {
    a == b || copy(a).event == copy(b).event && copy(a).event != .interrupted && ExecCtx.equal(copy(a), copy(b))
  }

  /// A copy with which more than half of all agree.
  private func majority() -> Int? {
    (0..<count).first { candidate in
      copy(candidate).event != .interrupted && (0..<count).filter { agree($0, candidate) }.count * 2 > count
    }
  }

  /// The first difference between the primary and a shadow.
  private func divergence() -> Divergence {
    for index in 1..<count {
      let shadow = copy(index)
      if shadow.event != primary.event { return .event(copy: index, shadow.event, primary: primary.event) }
      for word in 0..<Int(APPLET_FRAME_WORDS) where shadow.frame[word] != primary.frame[word] {
        guard let name = primary.architecture.frameWordName(word) else { continue }
        let difference = shadow.frame[word] ^ primary.frame[word]
        if word == Int(APPLET_FRAME_STATUS), difference & primary.architecture.steadyStatus == 0 { continue }
        return .register(name, copy: index, value: shadow.frame[word], primary: primary.frame[word])
      }
    }
    return .event(copy: 1, shadows[0].event, primary: primary.event)
  }

  /// Makes a copy equal to another one.
  private func repair(_ index: Int, from right: Int) throws(ExecError) {
    let wrong = copy(index)
    // One that was interrupted stands amid its own code, not in the shim behind its exit.
    let isOutside = wrong.event == .interrupted
    wrong.memory.copyContents(of: copy(right).memory)
    wrong.event = copy(right).event
    wrong.frame[Int(APPLET_FRAME_ON_ENTRY)] = UInt64(APPLET_ENTRY_FP | APPLET_ENTRY_FENCE)
    do throws(KVMError) {
      try wrong.copyThreadPointer(of: copy(right))
      let settings = isOutside ? wrong.architecture.shimRestart(wrong.memory.layout) : []
      for setting in settings { try wrong.vcpu.setRegister(setting.id, setting.value) }
    } catch { throw .kvm(error) }
    primary.lockstepReport.repairs[index] &+= 1
  }

  /// Answers all copies' read of the counter with the same value, as a call would.
  /// - Returns: whether the fault was such a read.
  private func answerCounterRead(_ fault: Fault) throws(ExecError) -> Bool {
    let architecture = primary.architecture
    guard architecture.mayBeCounterRead(fault) else { return false }
    var instruction: UInt32 = 0
    if let range = GuestRange(start: primary.pc, count: 4) {
      let read = try? primary.memory.withBytes(range, for: .execute) { $0.loadUnaligned(as: UInt32.self) }
      instruction = read ?? 0
    }
    let value: UInt64
    let register: Int
    do {
      switch architecture.counterRead(cause: primary.frame[Int(APPLET_FRAME_CAUSE)], instruction: instruction) {
      case .count(let target):
        register = target
        value = try primary.vcpu.register(architecture.counterRegister)
      case .frequency(let target):
        register = target
        value = try primary.counterFrequency()
      case nil: return false
      }
    } catch { throw .kvm(error) }
    for index in 0..<count {
      let frame = copy(index).frame
      // x31 of arm64 is the zero register here, and x0 of riscv64 always is.
      if architecture.generalRegisters.contains(register), register != architecture.zeroRegister {
        frame[register] = value
      }
      frame[Int(APPLET_FRAME_PC)] &+= 4
      copy(index).loadRegisters()
    }
    return true
  }

  /// Makes sure that all copies hand over the same bytes.
  func checkInput(_ range: GuestRange) throws(ExecError) {
    guard range.count > 0 else { return }
    let count = Int(range.count)
    func bytes(_ index: Int) -> UnsafeMutableRawBufferPointer {
      copy(index).memory.bytes(at: range.start, count: count)
    }
    func agree(_ a: Int, _ b: Int) -> Bool {
      a == b || memcmp(bytes(a).baseAddress!, bytes(b).baseAddress!, count) == 0
    }
    if (1..<self.count).allSatisfy({ agree(0, $0) }) { return }
    let right = (0..<self.count).first { candidate in
      (0..<self.count).filter { agree($0, candidate) }.count * 2 > self.count
    }
    guard let right else {
      for index in 1..<self.count {
        for offset in 0..<count where bytes(index)[offset] != bytes(0)[offset] {
          throw .lockstep(
            .input(
              address: range.start + UInt64(offset), copy: index, value: bytes(index)[offset], primary: bytes(0)[offset]
            ))
        }
      }
      return
    }
    for index in 0..<self.count where !agree(index, right) { try repair(index, from: right) }
  }

  /// Gives all shadows the bytes that the primary has been given.
  func copyOutput(_ range: GuestRange) {
    guard range.count > 0 else { return }
    let source = primary.memory.bytes(at: range.start, count: Int(range.count))
    for shadow in shadows {
      shadow.memory.bytes(at: range.start, count: Int(range.count)).copyMemory(from: UnsafeRawBufferPointer(source))
    }
  }

  /// Flips a bit in one copy, if it is time for one.
  private func injectFault() {
    guard
      let (copy, register, bit) = faultInjection?.next(copies: count, registers: primary.architecture.generalRegisters)
    else { return }
    let faulty = self.copy(copy)
    faulty.frame[register] ^= 1 << UInt64(bit)
    faulty.loadRegisters()
    faultInjection?.report?(copy, primary.architecture.registerName(register), bit)
  }
}

extension ExecCtx {
  /// Runs this context and then its shadows to their next events; `agrees` says whether all of them call alike.
  fileprivate func advanceCopies(_ shadows: [ExecCtx]) throws(ExecError) {
    event = .interrupted
    for shadow in shadows { shadow.event = .interrupted }
    event = try advance(patience: Lockstep.patience, stopping: self)
    agrees = event == .call
    for shadow in shadows {
      shadow.event = try shadow.advance(patience: Lockstep.patience, stopping: self)
      agrees = agrees && shadow.event == .call && ExecCtx.equal(self, shadow)
    }
  }

  /// Runs this copy to its next event.
  /// - Parameter primary: whose stops and limits hold.
  /// - Returns: `.interrupted` where its patience, in kicks of the timer, is used up.
  @inline(__always)
  fileprivate func advance(patience: Int, stopping primary: ExecCtx) throws(ExecError) -> Event {
    let event = try enter()
    return event == .interrupted ? try advanceInterrupted(patience: patience, stopping: primary) : event
  }

  @inline(never)
  private func advanceInterrupted(patience: Int, stopping primary: ExecCtx) throws(ExecError) -> Event {
    for _ in 0..<patience {
      vcpu.clearExitRequest()
      try primary.checkStops()
      let event = try enter()
      if event != .interrupted { return event }
    }
    return .interrupted
  }
}

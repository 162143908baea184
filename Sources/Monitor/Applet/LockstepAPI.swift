import Applet
import AppletABI
import KVM
import Machine
import Platform

/// Counters of lockstep.
public struct LockstepReport: Equatable, Sendable {
  /// Calls at which all copies agreed, at once or after a repair.
  public internal(set) var calls: UInt64 = 0
  /// The number of times that each copy was repaired from the majority. Index 0 is the primary.
  public internal(set) var repairs: [UInt64] = []
}

/// Why contexts cannot run in lockstep.
public enum LockstepError: Error, Equatable {
  /// A program in system mode, a shadow of another context, or a program's peer: it cannot have shadows.
  case notFit
  /// The shadow with this number, from 0, is not a copy: it is the context itself, has another layout or other memory,
  /// or is in lockstep already.
  case noCopy(Int)
  /// The context is running.
  case running
  /// KVM does not let the monitor trap the counter in one of them.
  case kvm(KVMError)

  /// A description, in one line.
  public var description: String {
    switch self {
    case .notFit: "a program in system mode, its peer, or a shadow cannot have shadows"
    case .noCopy(let number): "shadow \(number) is not a copy of the context in its present state"
    case .running: ExecError.running.description
    case .kvm(let error): error.description
    }
  }
}

extension ExecCtx {
  /// Whether two contexts agree in all general registers, PC, status, cause and floating-point registers. TPIDR_EL0 of
  /// arm64 is not compared, because reading it would take a quarter of the time of a call. `clone` and repairs copy it,
  /// and a fault in it becomes visible when the applet uses the register.
  public static func equal(_ a: ExecCtx, _ b: ExecCtx) -> Bool { LockstepGroup.equal(a.guest, b.guest) }

  /// The copies that run in lockstep with this context, each made by `clone`. They must agree with it at every call.
  ///
  /// With one shadow a difference ends the run. With two or more the majority is taken as correct: a copy that differs
  /// is repaired and counted in `lockstepReport`, and the run continues. In lockstep, time and random numbers come only
  /// from calls, and all copies get the same values.
  ///
  /// A shadow's own `handler` is called with this context after each entry of the shadow that ended in a call, before the two are
  /// compared, as GoTEE's `Shadow.Handler` is. It may change the shadow's registers and memory; what it throws ends the run. It must
  /// be set before the run.
  public var shadows: [ExecCtx] { applet?.lockstep?.shadows ?? [] }

  /// The first shadow.
  public var shadow: ExecCtx? { shadows.first }

  /// The counters of lockstep so far.
  public var lockstepReport: LockstepReport { applet?.report ?? LockstepReport() }

  /// The guests of this context and its shadows: each change of memory is applied to all of them.
  var guests: [GuestMachine] { applet?.lockstep?.copies.map { $0.guest } ?? [guest] }

  /// Sets the shadows; an empty array ends lockstep. The context must not be running.
  /// - Parameter parallel: whether each shadow runs on its own thread at the same time as the primary, instead of after
  ///   it.
  /// - Throws: `LockstepError`. Nothing has changed then, except after `.kvm`.
  public func setShadows(_ shadows: [ExecCtx], parallel: Bool = false) throws(LockstepError) {
    guard let applet, !applet.isShadow, !applet.isPeer else { throw .notFit }
    guard !guest.cpus.control.isRunning else { throw .running }
    for (index, shadow) in shadows.enumerated() {
      guard isCopy(shadow), !shadows[..<index].contains(where: { $0 === shadow }) else { throw .noCopy(index) }
    }
    do { try setCopies(shadows, parallel, applet) } catch { throw .kvm(error) }
  }

  /// Whether a context has the same memory as this one and is not in lockstep yet.
  private func isCopy(_ shadow: ExecCtx) -> Bool {
    guard shadow !== self, let applet = shadow.applet, applet.lockstep == nil, !applet.isPeer,
      !applet.isShadow || shadows.contains(where: { $0 === shadow })
    else { return false }
    return !shadow.guest.cpus.control.isRunning && shadow.guest.memory.isLike(guest.memory)
      && shadow.architecture == architecture
  }

  private func setCopies(_ shadows: [ExecCtx], _ parallel: Bool, _ applet: AppletMode) throws(KVMError) {
    // The previous shadows are released first: some may be in the new list.
    applet.lockstep = nil
    applet.lockstep =
      shadows.isEmpty ? nil : LockstepGroup(primary: guest, shadows: shadows, isParallel: parallel)
    applet.report.repairs = Array(repeating: 0, count: shadows.count + 1)
    for copy in [guest] + shadows.map({ $0.guest }) {
      copy.frame[Int(APPLET_FRAME_ON_EXIT)] = shadows.isEmpty ? 0 : UInt64(APPLET_EXIT_WATCH)
      if let watch = architecture.floatingPointWatch(isOn: !shadows.isEmpty) { try copy.set([watch]) }
      if !shadows.isEmpty || copy.mayReadCounter { try copy.allowCounter(shadows.isEmpty) }
    }
  }

  /// The faults to inject into the copies of a context in lockstep; nil for none.
  public var faultInjection: FaultInjection? {
    get { applet?.lockstep?.faultInjection }
    set { applet?.lockstep?.faultInjection = newValue }
  }
}

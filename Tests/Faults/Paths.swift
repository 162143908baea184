import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport

/// The ways to make contexts.
struct Variant {
  let name: String
  let architecture: Architecture
  let transport: ExecCtx.Transport?

  static let all = [
    Variant(name: "arm64, hvc", architecture: .arm64, transport: nil),
    Variant(name: "arm64, mmio", architecture: .arm64, transport: .mmio),
    Variant(name: "riscv64", architecture: .riscv64, transport: nil),
  ]
  /// Those of guests in system mode, which have one transport on each architecture.
  static let systemMode = [all[0], all[2]]
}

/// The typed errors of the paths, distinguished by their errno.
enum PathError: Error {
  case load(LoadError)
  case kvm(KVMError)
  case exec(ExecError)
  case region(RegionError)
  case attach(AttachError)
  case linux(LinuxError)
  /// An error of a daemon at its start or in a reply, as text.
  case control(String)
  /// The daemon has closed the client's connection.
  case left
  /// The path itself detected an error: a state that is neither the old nor the new one.
  case broken(String)

  var text: String {
    switch self {
    case .load(let error): error.description
    case .kvm(let error): error.description
    case .exec(let error): error.description
    case .region(let error): error.description
    case .attach(let error): error.description
    case .linux(let error): error.description
    case .control(let text): text
    case .left: "the daemon has left"
    case .broken(let text): text
    }
  }

  /// Whether the guest is said to have ended its run by an access.
  var isGuests: Bool {
    switch self {
    case .exec(.fault), .linux(.access): true
    default: false
    }
  }

  var errno: Errno? {
    switch self {
    case .load(.image(.unreadable(let errno))): errno
    case .load(.kvm(let error)), .kvm(let error), .exec(.kvm(let error)), .region(.kvm(let error)),
      .attach(.region(_, .kvm(let error))), .linux(.kvm(let error)):
      switch error {
      case .unavailable(let errno), .failed(_, let errno): errno
      case .version: nil
      }
    case .exec(.output(let errno)), .exec(.input(let errno)), .exec(.host(let errno)), .attach(.host(let errno)),
      .linux(.kernel(.unreadable(let errno))), .linux(.initrd(let errno)), .linux(.disk(_, .unreadable(let errno))),
      .linux(.port(_, let errno)), .linux(.host(let errno)), .linux(.output(let errno)):
      errno
    // The lock is held.
    case .linux(.disk(_, .inUse)): Errno(EAGAIN)
    default: nil
    }
  }
}

/// An operation of Swiftlet, from the allocation of its resources to their release.
struct Path {
  let name: String
  var variants = Variant.all
  /// Whether the fault occurs in a worker of a daemon.
  var isInWorker = false
  /// Calls its argument when calls may begin to fail, and returns the result.
  let body: (ScriptedKernel, Variant, Stage) throws(PathError) -> String

  static var all: [Path] {
    [
      start, copies, regions, run, lockstep, stop, systemStart, systemRun, systemStop, worlds, linuxStart, linuxRun,
      linuxStop, files, daemonStart, daemonStop, workerStart,
    ]
  }

  private static var start: Path {
    Path(name: "start") { kernel, variant, stage throws(PathError) in
      stage.begin()
      let context = try makeContext(kernel, variant, stage)
      return "ready at \(context.pc)"
    }
  }

  /// Two copies, set as shadows.
  private static func setShadows(
    of context: ExecCtx, _ system: borrowing System, parallel: Bool = false
  ) throws(PathError) {
    let shadows: [ExecCtx]
    do { shadows = [try context.clone(on: system), try context.clone(on: system)] } catch { throw .kvm(error) }
    do { try context.setShadows(shadows, parallel: parallel) } catch {
      guard case .kvm(let error) = error else { throw .broken(error.description) }
      throw .kvm(error)
    }
  }

  private static var copies: Path {
    Path(name: "copy") { kernel, variant, stage throws(PathError) in
      let context = try makeContext(kernel, variant, stage)
      try addRegion(context, at: 0x4000_0000, kernel)
      let system = try makeSystem(kernel)
      stage.begin()
      try setShadows(of: context, system)
      return "\(context.shadows.count) shadows"
    }
  }

  private static var regions: Path {
    Path(name: "memory regions") { kernel, variant, stage throws(PathError) in
      let context = try makeContext(kernel, variant, stage)
      let system = try makeSystem(kernel)
      try setShadows(of: context, system)
      let page = UInt64(linux_page_size())
      var before = try agreed(context, kernel)
      stage.begin()
      func step(_ change: () throws(RegionError) -> Void) throws(PathError) {
        do throws(RegionError) { try change() } catch {
          stage.pause()
          // A failure has changed nothing, in no copy and not in the kernel.
          guard try agreed(context, kernel) == before else {
            throw .broken("a change that failed left something behind")
          }
          throw .region(error)
        }
        before = try agreed(context, kernel)
      }
      try step { () throws(RegionError) in
        try context.addRegion(at: 0x4000_0000, try memory(kernel, pages: 4), access: [.read, .write])
      }
      try step { () throws(RegionError) in try context.protect(0x4000_0000..<0x4000_0000 + page, .read) }
      try step { () throws(RegionError) in try context.removeRegion(at: 0x4000_0000) }
      return before
    }
  }

  private static var run: Path {
    Path(name: "run") { kernel, variant, stage throws(PathError) in
      stage.input("some input")
      let context = try makeContext(kernel, variant, stage)
      try addRegion(context, at: 0x4000_0000, kernel)
      context.deadline = Clock.monotonic + 600_000_000_000
      context.cpuBudget = 600_000_000_000
      kernel.script(everyCall(heap: context.memory.layout.heap.lowerBound))
      stage.begin()
      return try finish(context, stage)
    }
  }

  private static var lockstep: Path {
    Path(name: "lockstep, in parallel") { kernel, variant, stage throws(PathError) in
      stage.input("some input")
      let context = try makeContext(kernel, variant, stage)
      let system = try makeSystem(kernel)
      try setShadows(of: context, system, parallel: true)
      kernel.script(everyCall(heap: context.memory.layout.heap.lowerBound))
      stage.begin()
      return try finish(context, stage)
    }
  }

  private static var stop: Path {
    Path(name: "stop and run on") { kernel, variant, stage throws(PathError) in
      let context = try makeContext(kernel, variant, stage)
      let id = variant.architecture == .arm64 ? ARM64.x(5) : RISCV64.x(5)
      kernel.cpus[0].setRegister(id, 0x1234)
      kernel.program = { $0.spin(pc: 0x8000_0048) }
      stage.begin()
      return try stopAndRunOn(context, stage) { kernel.program = { $0.call(APPLET_CALL_EXIT_STATUS, 3) } }
    }
  }

  // MARK: Parts

  /// A guest that makes every call once.
  private static func everyCall(heap: UInt64) -> [(Guest) -> Int] {
    [
      { guest in
        guest.store(Array("a line\nand more".utf8), at: heap)
        return guest.call(APPLET_CALL_WRITE, heap, 15)
      },
      { $0.call(APPLET_CALL_PUT_CHARACTER, 0x0a) },
      { $0.call(APPLET_CALL_NANOTIME) },
      { $0.call(APPLET_CALL_READ, heap + 0x100, 10) },
      { $0.call(APPLET_CALL_GETRANDOM, heap + 0x200, 100_000) },
      { $0.call(APPLET_CALL_SLEEP, 1000) },
      { $0.call(APPLET_CALL_YIELD) },
      { guest in
        let request = Array(#"{"method":"No.Such","params":[1],"id":7}"#.utf8)
        guest.store(request, at: heap + 0x300)
        return guest.call(APPLET_CALL_RPC_REQUEST, heap + 0x300, UInt64(request.count))
      },
      { $0.call(APPLET_CALL_RPC_RESPONSE, heap + 0x400, 200) },
      { $0.call(APPLET_CALL_REGION, 0, heap + 0x600) },
      { $0.call(APPLET_CALL_ARGUMENTS, heap + 0x700, 100) },
      { $0.call(APPLET_CALL_COUNTER) },
      { $0.call(APPLET_CALL_EXIT_STATUS, 5) },
    ]
  }

  /// Stops a looping guest before it begins, then in its own code by a deadline, then runs it to its end.
  /// - Parameter end: makes the guest exit from now on. On a busy host the deadline comes before its first entry, so
  ///   the script depends on the run, not on the number of entries.
  static func stopAndRunOn(_ context: ExecCtx, _ stage: Stage, end: () -> Void) throws(PathError) -> String {
    context.stop()
    var outcomes = try finish(context, stage)
    context.deadline = Clock.monotonic + 2_000_000
    do throws(PathError) { outcomes += try finish(context, stage) } catch {
      guard case .exec(.limit(.deadline)) = error else { throw error }
      outcomes += ", deadline"
    }
    context.deadline = nil
    end()
    return outcomes + ", " + (try finish(context, stage))
  }

  static func finish(_ context: ExecCtx, _ stage: Stage) throws(PathError) -> String {
    do {
      switch try context.run() {
      case .exited(let status): return "exited \(status)"
      case let other: return "\(other)"
      }
    } catch { throw .exec(error) }
  }

  static func makeSystem(_ kernel: ScriptedKernel) throws(PathError) -> System {
    do { return try System(kernel: kernel) } catch { throw .kvm(error) }
  }

  static func makeContext(_ kernel: ScriptedKernel, _ variant: Variant, _ stage: Stage) throws(PathError)
    -> ExecCtx
  {
    var options = ExecCtx.Options()
    options.arguments = ["test.elf", "argument"]
    options.transport = variant.transport
    options.input = stage.input
    options.output = stage.output
    let image: AppletImage
    do { image = try AppletImage(path: stage.image(variant), architecture: variant.architecture, kernel: kernel) } catch
    {
      throw .load(.image(error))
    }
    let system = try makeSystem(kernel)
    do {
      return try ExecCtx(
        image: image, memorySize: 1 << 20, system: system, architecture: variant.architecture, options: options)
    } catch { throw .load(error) }
  }

  private static func addRegion(_ context: ExecCtx, at address: UInt64, _ kernel: ScriptedKernel) throws(PathError) {
    do throws(RegionError) {
      try context.addRegion(at: address, try memory(kernel, pages: 1), access: [.read, .write])
    } catch {
      throw .region(error)
    }
  }

  private static func memory(_ kernel: ScriptedKernel, pages: Int) throws(RegionError) -> SharedMemory {
    do { return try SharedMemory(count: linux_page_size() * pages, kernel: kernel) } catch {
      throw .kvm(.failed(.mapMemory, error))
    }
  }

  /// The regions, which must be equal in every copy, and the memory slots, which must match them.
  private static func agreed(_ context: ExecCtx, _ kernel: ScriptedKernel) throws(PathError) -> String {
    func text(_ context: ExecCtx) -> String {
      context.memory.regions.map { "\($0.range) \($0.access.rawValue)" }.joined(separator: ", ")
    }
    let own = text(context)
    for copy in [context] + context.shadows where text(copy) != own {
      throw .broken("the copies' memory differs: \(own) and \(text(copy))")
    }
    let pieces = Set([context.memory.slot] + context.memory.added.map { $0.range })
    for machine in kernel.cpus.map({ $0.machine }) {
      let slots = Set(machine.slots.values.map { $0.address..<$0.address + $0.size })
      if slots != pieces { throw .broken("slots \(slots) for \(own)") }
    }
    return own
  }
}

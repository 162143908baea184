import Applet
import AppletABI
import CLinux
import JSON
import KVM
import Machine
import Monitor
import Platform
import TestSupport

extension FuzzTarget {
  /// Callers of the library: any sequence of its calls, between runs, from handlers amid a call of the guest, from the handlers of
  /// limits, with copies in lockstep, a peer, and several processors.
  static let api = FuzzTarget(
    name: "api", input: "calls of the library, between runs and from handlers",
    run: { bytes in
      let kernel = ScriptedKernel(architectures[Int((bytes.first ?? 0) & 1)])
      Caller(kernel, Input(bytes)).run()
      hold(kernel.violations.isEmpty, "the kernel is used as it wants to be")
      hold(kernel.leaks == (0, 0), "nothing is left")
    },
    seeds: {
      let change: [UInt8] = [0, 1, 0, 16, 3, 1, 1, 2, 1, 3, 1]
      let calls: [UInt8] = [
        0x81, 0, 1, 1, 0, 0, 16, 0, 0x82, 3, 0, 1, 0, 0, 16, 0, 0x83, 2, 0, 1, 0, 0, 16, 0,
      ]
      var changes: [UInt8] = []
      for operation: UInt8 in 0..<18 { changes += [operation] + change }
      let run: [UInt8] = [0, 10, 3]
      return (0..<16).map { (flags: UInt8) -> [UInt8] in [flags] + changes + run + calls + changes + run + calls }
    })
}

/// Makes and uses contexts as the bytes of an input say. All use of a context is by the thread that runs it, with its call lock.
private final class Caller {
  private let kernel: ScriptedKernel
  /// Two processors take from the same bytes.
  private let input: Guarded<Input>
  private var contexts: [ExecCtx]
  private let memories: [SharedMemory]
  /// Runs that are under way, one amid another.
  private var depth = 0
  private var callsLeft = 300
  private let output: MemoryFile
  /// Where regions of the first context begin and end.
  private let bounds: [UInt64]
  /// Heaps of programs and of applets.
  private let heaps: [UInt64]
  private static let place: UInt64 = 0x1_0000_0000

  /// - Parameter input: begins with flags: riscv64; a program, with two processors, and a peer; or an applet with two shadows.
  init(_ kernel: ScriptedKernel, _ input: Input) {
    var input = input
    var contexts: [ExecCtx] = []
    self.kernel = kernel
    kernel.mostEntries = 200
    let flags = input.byte()
    let file = MemoryFile([])
    let output = file.descriptor
    self.output = file
    let system = try! System(kernel: kernel)
    let isProgram = flags & 2 != 0
    contexts.append(
      kernel.makeContext(kernel.architecture, on: system, isSecure: !isProgram) {
        $0.cpus = isProgram && flags & 4 != 0 ? 2 : 1
        $0.output = output
      })
    if isProgram {
      contexts.append(kernel.makeContext(kernel.architecture, on: system, isSecure: true) { $0.output = output })
      if flags & 8 != 0 { try! contexts[0].attach(contexts[1]) }
    } else if flags & 8 != 0 {
      for _ in 0..<2 { contexts.append(try! contexts[0].clone(on: system)) }
      try! contexts[0].setShadows(Array(contexts[1...]), parallel: flags & 4 != 0)
    }
    memories = [1, 2, 16, 48].map { pages in
      let memory = try! SharedMemory(count: pages * linux_page_size(), kernel: kernel)
      memory.bytes.initializeMemory(as: UInt8.self, repeating: 0x5a)
      return memory
    }
    bounds = contexts[0].memory.regions.flatMap { [$0.range.lowerBound, $0.range.upperBound] }
    heaps = [false, true].map { isSecure in
      guard let context = contexts.first(where: { $0.isSecure == isSecure }) else { return 0 }
      return context.memory.regions.first { $0.use == .heap }?.range.lowerBound ?? 0
    }
    self.contexts = contexts
    self.input = Guarded(input)
  }

  private func take<Value>(_ body: (inout Input) -> Value) -> Value { input.withLock(body) }
  private var byte: UInt8 { take { $0.byte() } }
  private func number() -> UInt64 { take { $0.number() } }

  func run() {
    for context in contexts { prepare(context) }
    kernel.program = { [unowned self] in step($0) }
    while !take({ $0.isEmpty }), callsLeft > 0 { act(contexts[Int(byte) % contexts.count]) }
    kernel.program = { _ in -Int(ENODATA) }
    for context in contexts { (context.handler, context.limitHandler) = (nil, nil) }
  }

  private func prepare(_ context: ExecCtx) {
    context.handler = { [unowned self] (context) throws(ExecError) in
      let what = byte
      if what & 0x80 != 0 { context.deadline = 1 }
      if what & 1 != 0 { act(context) }
      if what & 2 != 0 { act(contexts[Int(what >> 2 & 7) % contexts.count]) }
      if context.isSecure { try secureHandler(context) } else { try nonSecureHandler(context) }
      if what & 4 != 0 { act(context) }
    }
    let method: Server.Method = { [unowned self, unowned context] _ in
      act(context)
      return .null
    }
    try! context.server.register("S.m", method)
    context.limitHandler = { [unowned self] context, _ in
      let what = byte
      if what & 1 != 0 { act(context) }
      if what & 2 != 0 { act(context) }
      return what & 4 != 0 ? nil : what & 8 != 0 ? Int64(bitPattern: number()) : 1_000_000
    }
  }

  // MARK: The guests

  /// An entry of any of them: most calls hand over memory that the caller changes.
  private func step(_ guest: Guest) -> Int {
    let what = byte
    let isSecure = guest.cpu.isApplet
    if take({ $0.isEmpty }) || what == 0xff {
      return isSecure ? guest.call(APPLET_CALL_EXIT, 0) : guest.systemCall(APPLET_CALL_EXIT, 0)
    }
    let numbers = [
      APPLET_CALL_WRITE, APPLET_CALL_GETRANDOM, APPLET_CALL_PUT_CHARACTER, APPLET_CALL_READ, APPLET_CALL_RPC_REQUEST,
      APPLET_CALL_RPC_RESPONSE, APPLET_CALL_YIELD, APPLET_CALL_REGION, APPLET_CALL_ARGUMENTS, APPLET_CALL_COUNTER,
      APPLET_CALL_BLOCK, APPLET_CALL_BY_BLOCK, APPLET_CALL_SECURE, APPLET_CALL_SERVE, 0x50, APPLET_CALL_WRITE,
    ]
    let number = numbers[Int(what & 15)]
    var (address, count) = (address(), self.number() & 0x3_ffff)
    let request = Array("{\"method\":\"S.m\",\"params\":[0],\"id\":1}".utf8)
    let heap = heaps[isSecure ? 1 : 0]
    if number == APPLET_CALL_RPC_REQUEST, what & 0x10 != 0,
      guest.cpu.machine.slots.values.contains(where: { ($0.address..<$0.address + $0.size).contains(heap) })
    {
      guest.store(request, at: heap)
      (address, count) = (heap, UInt64(request.count))
    }
    if what & 0xf0 == 0xe0 { return -Int(EINTR) }
    return isSecure ? guest.call(number, address, count) : guest.systemCall(number, address, count)
  }

  // MARK: The caller

  private func address() -> UInt64 {
    let (kind, offset) = take { ($0.byte(), $0.number(UInt16.self)) }
    let page = UInt64(linux_page_size())
    switch kind & 7 {
    case 0...2: return Self.place + UInt64(kind >> 3) * page
    case 3: return Self.place + UInt64(offset)
    case 4, 5: return bounds[Int(kind >> 3) % bounds.count]
    case 6: return UInt64(offset) << 12
    default: return number()
    }
  }

  private func range() -> Range<UInt64> {
    let (start, pages) = (address(), UInt64(byte))
    let (end, wraps) = start.addingReportingOverflow(pages * 4096)
    return wraps ? start..<UInt64.max : start..<end
  }

  private func access() -> Access { Access(rawValue: byte & 7) }

  private func line(_ text: String) { hold(!text.isEmpty && !text.contains("\n"), "an error is one line") }

  /// A run that has ended.
  private func check(_ error: ExecError) {
    line(error.description)
    // What the monitor has handed to the kernel was there.
    for wrong in [ExecError.output(Errno(EFAULT)), .input(Errno(EFAULT)), .host(Errno(EFAULT))] {
      hold(error != wrong, "memory of a call stays mapped")
    }
  }

  /// One call of the library.
  private func act(_ context: ExecCtx) {
    callsLeft -= 1
    guard callsLeft > 0 else { return }
    switch byte % 18 {
    case 0:
      let memory = memories[Int(byte) % memories.count]
      do { try context.addRegion(at: address(), memory, access: access()) } catch { line(error.description) }
    case 1: do { try context.removeRegion(at: address()) } catch { line(error.description) }
    case 2: do { try context.protect(range(), access()) } catch { line(error.description) }
    case 3: useMemory(context)
    case 4: useRegisters(context)
    case 5:
      context.deadline = take { $0.byte() } & 1 == 0 ? nil : Int64(bitPattern: number())
      context.cpuBudget = take { $0.byte() } & 1 == 0 ? nil : Int64(bitPattern: number())
      context.callBudget = take { $0.byte() } & 1 == 0 ? nil : Int64(bitPattern: number())
    case 6: context.stop()
    case 7: setShadows(context)
    case 8: clone(context)
    case 9: do { try contexts[0].attach(context) } catch { line(error.description) }
    case 10, 11, 12: enter(context)
    case 13: useBuffer(context)
    case 14:
      _ = (context.description, context.deviceTree, context.lockstepReport, context.cause, context.mode)
      _ = (context.name(of: address()), context.shadows.count, context.cpuUsed)
      _ = ExecCtx.equal(context, contexts[Int(byte) % contexts.count])
      hold(ExecCtx.equal(context, context), "a context is equal to itself")
    case 15: transfer(context)
    case 16: do { _ = try context.withPeer { act($0) } } catch { check(error) }
    default:
      context.ret(number())
      if byte & 1 == 0 { context.exit(status: byte) }
    }
  }

  private func useMemory(_ context: ExecCtx) {
    let (count, bytes) = (Int64(bitPattern: number()), take { $0.take(Int($0.byte())) })
    do throws(ExecError) {
      hold(
        try context.readMemory(at: address(), count: Int(count & 0xffff)).count == Int(count & 0xffff), "all is read")
      try context.writeMemory(at: address(), bytes)
      _ = try context.readMemory(at: address(), count: Int(count), for: access())
    } catch { check(error) }
  }

  private func useRegisters(_ context: ExecCtx) {
    let number = Int(Int8(bitPattern: byte))
    do throws(ExecError) {
      if byte & 1 == 0 { try context.show(cpu: number) }
      try context.setRegister(number, self.number())
      _ = try context.register(number)
      try context.setFloatingPoint(number, low: self.number())
      _ = try context.floatingPoint(number)
    } catch { check(error) }
    context.status = self.number()
    // Where it goes on is the script's.
    if byte & 1 == 0 { context.pc = self.number() }
  }

  private func transfer(_ context: ExecCtx) {
    let bytes = take { $0.take(Int($0.byte())) }
    do throws(ExecError) {
      switch byte & 7 {
      case 0: try context.recv()
      case 1: try context.write(bytes)
      case 2: try context.flush(errno: byte & 1 == 0 ? nil : Errno(EIO))
      case 3: try context.poke(number(), bytes)
      case 4: _ = try context.transferRegion()
      case 5: try context.flush()
      default:
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
        defer { buffer.deallocate() }
        hold(context.read(into: buffer) <= bytes.count, "no more is read than fits")
      }
    } catch { check(error) }
  }

  private func setShadows(_ context: ExecCtx) {
    let (which, isParallel) = (byte, byte & 1 != 0)
    let shadows = contexts.enumerated().filter { which >> UInt8($0.offset & 7) & 1 != 0 }.map { $0.element }
    do { try context.setShadows(shadows, parallel: isParallel) } catch { line(error.description) }
  }

  private func clone(_ context: ExecCtx) {
    guard contexts.count < 6 else { return }
    kernel.runsApplets = true
    do {
      let copy = try context.clone(on: try System(kernel: kernel))
      prepare(copy)
      contexts.append(copy)
    } catch { line("\(error)") }
  }

  private func enter(_ context: ExecCtx) {
    guard depth < 3 else { return }
    depth += 1
    defer { depth -= 1 }
    do throws(ExecError) {
      switch byte & 3 {
      case 0: _ = try context.exec()
      case 1: _ = try context.schedule()
      default: _ = try context.run()
      }
    } catch {
      check(error)
      line(context.description(of: error))
    }
  }

  /// What the body is given is there, whatever it does to the region.
  private func useBuffer(_ context: ExecCtx) {
    let (address, count) = (address(), number() & 0xffff)
    do throws(ExecError) {
      try context.withBuffer(at: address, count: count, for: byte & 1 == 0 ? .read : .write) { bytes in
        act(context)
        if let last = bytes.last { bytes[0] = last }
      }
    } catch { check(error) }
  }
}

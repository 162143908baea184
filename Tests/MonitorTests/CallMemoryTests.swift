import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// Memory that is removed or protected while a call uses it.
struct CallMemoryTests {
  private static let place: UInt64 = 0x1_0000_0000
  private static let size = 256 << 10
  private static let end = place + UInt64(size)

  /// A file without a name, for output.
  private final class Output {
    let descriptor: Int32

    init() throws {
      var name = Array("/tmp/swiftlet-test-XXXXXX\0".utf8CString)
      descriptor = mkstemp(&name)
      try #require(descriptor >= 0 && unlink(name) == 0)
    }

    deinit { _ = linux_close(descriptor) }

    var bytes: [UInt8] {
      var bytes = [UInt8](repeating: 0, count: 1 << 20)
      let count = pread(descriptor, &bytes, bytes.count, 0)
      return Array(bytes[..<max(count, 0)])
    }
  }

  /// Memory that reuses the released addresses.
  private static func fill(_ kernel: ScriptedKernel) -> [SharedMemory] {
    (0..<4).map { _ in
      let memory = try! SharedMemory(count: size, kernel: kernel)
      memory.bytes.initializeMemory(as: UInt8.self, repeating: 0x53)
      return memory
    }
  }

  private static func give(_ context: ExecCtx, _ kernel: ScriptedKernel, _ access: Access) throws {
    let memory = try SharedMemory(count: size, kernel: kernel)
    memory.bytes.initializeMemory(as: UInt8.self, repeating: 0x2e)
    try context.addRegion(at: place, memory, access: access)
  }

  /// A limit is exceeded during a call, and its handler removes the memory: the output is the data that the applet has
  /// passed.
  @Test(arguments: Host.all, [0, 2]) func outputIsTheDataOfTheCall(host: Host, shadows: Int) throws {
    let kernel = ScriptedKernel(host.architecture)
    let output = try Output()
    let context = try Fixture.context(host, kernel, output: output.descriptor)
    if shadows > 0 {
      let system = try KVM.System(kernel: kernel)
      try context.setShadows(try (0..<shadows).map { _ in try context.clone(on: system) })
    }
    try Self.give(context, kernel, [.read, .write])
    kernel.script([
      { $0.call(APPLET_CALL_WRITE, Self.place, UInt64(Self.size)) }, { $0.call(APPLET_CALL_EXIT, 0) },
    ])
    // The limit is exceeded during the call.
    context.handler = { (context) throws(ExecError) in
      context.deadline = 1
      try secureHandler(context)
    }
    var held: [SharedMemory] = []
    context.limitHandler = { context, _ in
      if held.isEmpty {
        #expect(throws: Never.self) { try context.removeRegion(at: Self.place) }
        held = Self.fill(kernel)
      }
      return 20_000_000_000
    }
    let outcome = try context.run()
    #expect(outcome == .exited(status: 0))
    #expect(output.bytes.count == Self.size && output.bytes.allSatisfy { $0 == 0x2e })
    #expect(!held.isEmpty && kernel.violations.isEmpty)
  }

  /// The same for data that the monitor writes: none is written to memory that was removed or is no longer writable.
  @Test(arguments: Host.all, [false, true]) func removedMemoryIsNotWritten(host: Host, isProtected: Bool) throws {
    let kernel = ScriptedKernel(host.architecture)
    let context = try Fixture.context(host, kernel)
    try Self.give(context, kernel, [.read, .write])
    kernel.script([{ $0.call(APPLET_CALL_GETRANDOM, Self.place, UInt64(Self.size)) }])
    // The limit is exceeded during the call.
    context.handler = { (context) throws(ExecError) in
      context.deadline = 1
      try secureHandler(context)
    }
    var held: [SharedMemory] = []
    var before: [UInt8] = []
    context.limitHandler = { context, _ in
      if held.isEmpty {
        if isProtected {
          #expect(throws: Never.self) { try context.protect(Self.place..<Self.end, [.read, .execute]) }
          before = (try? context.readMemory(at: Self.place, count: Self.size)) ?? []
        } else {
          #expect(throws: Never.self) { try context.removeRegion(at: Self.place) }
        }
        held = Self.fill(kernel)
      }
      return 20_000_000_000
    }
    let result = Result { () throws(ExecError) in try context.run() }
    guard case .failure(.badRange(call: 3, _, _, _)) = result else {
      Issue.record("another end")
      return
    }
    #expect(!held.isEmpty && held.allSatisfy { $0.bytes.allSatisfy { $0 == 0x53 } })
    if isProtected { #expect(try context.readMemory(at: Self.place, count: Self.size) == before) }
  }

  /// Another CPU's handler removes the memory while this CPU's output waits for its reader.
  @Test(arguments: both) func callsOfOtherCPUsDoNotInterfere(architecture: Architecture) throws {
    let program = try Program(architecture, cpus: 2)
    let context = program.context
    var ends: (Int32, Int32) = (-1, -1)
    try #require(linux_pipe(&ends.0, &ends.1) >= 0)
    defer { _ = (linux_close(ends.0), linux_close(ends.1)) }
    // The pipe's buffer is too small for all of the output.
    try #require(dup2(ends.1, program.output.descriptor) >= 0)
    try Self.give(context, program.kernel, [.read, .write])
    var held: [SharedMemory] = []
    let isTaken = Flag()
    context.handler = { (context) throws(ExecError) in
      guard context.a0 == 0x50 else { return try nonSecureHandler(context) }
      #expect(throws: Never.self) { try context.removeRegion(at: Self.place) }
      held = Self.fill(program.kernel)
      isTaken.set()
      context.ret(UInt64(0))
    }
    program.kernel.program = { guest in
      switch (guest.cpu.number, guest.entry) {
      case (0, 0): return guest.systemCall(APPLET_CALL_WRITE, Self.place, UInt64(Self.size))
      case (0, _): return guest.systemCall(APPLET_CALL_EXIT_STATUS, 3)
      case (_, 0):
        usleep(50_000)
        return guest.systemCall(0x50)
      default: return guest.spin()
      }
    }
    let reading = ends.0
    let reader = try Thread {
      isTaken.wait()
      var buffer = [UInt8](repeating: 0, count: 65536)
      var (dots, others, left) = (0, 0, Self.size)
      while left > 0 {
        let count = linux_read(reading, &buffer, buffer.count)
        if count == -Int(EAGAIN) {
          usleep(1000)
          continue
        }
        guard count > 0 else { break }
        left -= count
        for byte in buffer[..<count] { if byte == 0x2e { dots += 1 } else { others += 1 } }
      }
      #expect(dots == Self.size && others == 0)
    }
    #expect(program.run() == .success(.exited(status: 3)))
    reader.join()
    #expect(!held.isEmpty)
  }

  /// No CPU is in the guest while memory is changed, and all of them see the change.
  @Test(arguments: both) func cpusAreOutOfTheGuestWhileMemoryChanges(architecture: Architecture) throws {
    let program = try Program(architecture, cpus: 3)
    let context = program.context
    try Self.give(context, program.kernel, [.read, .write])
    let changes = Notes<Int>()
    let lock = Lock()
    context.handler = { (context) throws(ExecError) in
      guard context.a0 == 0x50 else { return try nonSecureHandler(context) }
      #expect(throws: Never.self) { try context.protect(Self.place..<Self.end, [.read, .execute]) }
      #expect(throws: Never.self) { try context.protect(Self.place..<Self.end, [.read, .write]) }
      context.ret(UInt64(0))
    }
    program.kernel.program = { guest in
      guard guest.cpu.number == 0 else {
        let before = program.kernel.count(of: LINUX_KVM_SET_USER_MEMORY_REGION)
        let result = guest.spin()
        let after = program.kernel.count(of: LINUX_KVM_SET_USER_MEMORY_REGION)
        lock.withLock { changes(after - before) }
        return result
      }
      usleep(guest.entry == 0 ? 30_000 : 5_000)
      return guest.entry < 5 ? guest.systemCall(0x50) : guest.systemCall(APPLET_CALL_EXIT_STATUS, 3)
    }
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(changes.list.count > 2 && changes.list.allSatisfy { $0 == 0 }, "\(changes.list)")
    #expect(program.kernel.violations.isEmpty)
  }

  /// A call block must be writable for the program.
  @Test(arguments: both) func aProtectedBlockIsNotACallBlock(architecture: Architecture) throws {
    let program = try Program(architecture)
    let page = UInt64(linux_page_size())
    let block = (program.start(of: .heap) + page - 1) / page * page
    let results = Notes<Int64>()
    program.context.handler = { (context) throws(ExecError) in
      guard context.a0 == 0x50 else { return try nonSecureHandler(context) }
      #expect(throws: Never.self) { try context.protect(block..<block + page, [.read]) }
      context.ret(UInt64(0))
    }
    program.kernel.script([
      { $0.systemCall(APPLET_CALL_BLOCK, block) }, { $0.systemCall(0x50) },
      { $0.systemCall(APPLET_CALL_BY_BLOCK) },
      { guest in
        results(guest.systemResult)
        return guest.systemCall(APPLET_CALL_EXIT_STATUS, 3)
      },
    ])
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(results.list == [architecture == .arm64 ? -1 : -2])
  }
}

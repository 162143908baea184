import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// A context's memory and registers, as an embedding program reads and changes them.
struct AccessTests {
  private static let place: UInt64 = 0x7000_0000

  private func called(_ host: Host, shadows: Int = 0, _ steps: [(Guest) -> Int] = []) throws -> Fixture {
    let fixture = try Fixture(host, [{ $0.call(0x500, 1) }] + steps)
    try fixture.context.schedule()
    let system = try KVM.System(kernel: fixture.kernel)
    var clones: [ExecCtx] = []
    for _ in 0..<shadows { clones.append(try fixture.context.clone(on: system)) }
    try fixture.context.setShadows(clones)
    return fixture
  }

  @Test(arguments: Host.all) func memoryIsAccessedByGuestAddress(host: Host) throws {
    let fixture = try called(host, shadows: 1)
    let context = fixture.context
    let page = Int(linux_page_size())
    let memory = try SharedMemory(count: page, kernel: fixture.kernel)
    try context.addRegion(at: Self.place, memory, access: [.read, .write])
    // Below the main memory, in code, in variables.
    for address in [Self.place, Fixture.text, Fixture.variables + 1] {
      try context.writeMemory(at: address, [1, 2, 3])
      #expect(try context.readMemory(at: address, count: 3) == [1, 2, 3])
      #expect(try context.shadow?.readMemory(at: address, count: 3) == [1, 2, 3])
    }
    #expect(memory.bytes[2] == 3)
    #expect(try context.memory.read(try #require(GuestRange(start: Self.place, count: 2))) == [1, 2])
    // The caller selects the access that the applet itself must have.
    #expect(throws: ExecError.badRange(call: 0x500, address: Fixture.text, count: 4, .access)) {
      try context.readMemory(at: Fixture.text, count: 4, for: .write)
    }
    for (address, count) in [
      (Fixture.guardPage, 1), (context.memory.layout.frame, 8), (Self.place + UInt64(page) - 1, 2), (.max, 2),
    ] as [(UInt64, Int)] {
      #expect(throws: ExecError.badRange(call: 0x500, address: address, count: UInt64(count), .outside)) {
        try context.readMemory(at: address, count: count)
      }
      #expect(throws: ExecError.badRange(call: 0x500, address: address, count: UInt64(count), .outside)) {
        try context.writeMemory(at: address, [UInt8](repeating: 1, count: count))
      }
    }
    #expect(memory.bytes[page - 1] == 0)
  }

  /// A transfer region's offset can refer to memory below and above the main one.
  @Test(arguments: Host.all) func pokeWritesBelowTheMainMemory(host: Host) throws {
    let place = Self.place
    let fixture = try Fixture(host, [{ $0.call(APPLET_CALL_RPC_REQUEST, place + 8, 4) }])
    let memory = try SharedMemory(count: Int(linux_page_size()), kernel: fixture.kernel)
    try fixture.context.addRegion(at: place, memory, access: [.read, .write])
    try fixture.context.schedule()
    try fixture.context.poke(try fixture.context.transferRegion().offset, [9, 8])
    #expect(Array(memory.bytes[8..<10]) == [9, 8])
  }

  @Test(arguments: Host.all) func thePCCanBeSet(host: Host) throws {
    let seen = Notes<UInt64>()
    // After a fault a monitor may skip the instruction.
    let cause: UInt64 = host.architecture == .arm64 ? 0x9200_0004 : 13
    let fixture = try called(
      host,
      [
        { $0.trap(cause: cause, address: 0x10, pc: 0x8000_0050) },
        {
          seen($0.pc)
          return $0.call(APPLET_CALL_EXIT, 0)
        },
      ])
    #expect(try fixture.context.exec() == .fault(.read, address: 0x10))
    #expect(fixture.context.pc == 0x8000_0050)
    fixture.context.pc += 4
    #expect(fixture.context.pc == 0x8000_0054)
    // The shim only loads it on request.
    let asked = fixture.context.memory.bytes(at: fixture.context.memory.layout.frame, count: 1024)
      .load(fromByteOffset: Int(APPLET_FRAME_ON_ENTRY) * 8, as: UInt64.self)
    #expect(asked & UInt64(APPLET_ENTRY_REGISTERS) != 0)
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(seen.list == [0x8000_0054])
  }

  @Test(arguments: Host.all) func onlyTheFlagsOfTheStatusCanBeSet(host: Host) throws {
    let context = try called(host, shadows: 1).context
    let before = context.status
    context.status = .max
    #expect(context.status == (host.architecture == .arm64 ? before | 0xf000_0000 : before))
    #expect(context.mode.saved == .user)
    context.status = 0
    #expect(context.status == before)
    #expect(context.shadow?.status == before)
  }

  @Test(arguments: Host.all) func floatingPointRegistersCanBeReadAndSet(host: Host) throws {
    let fixture = try called(host, shadows: 1)
    let context = fixture.context
    let id = host.architecture.floatingPointRegisters[3].id
    let size = 1 << Int(id >> 52 & 15)
    fixture.kernel.cpus[0].registers[id] = (1...UInt8(size)).map { $0 }
    // It was read when the shadow was made; in a new context it is read now.
    let other = try called(host)
    other.kernel.cpus[0].registers[id] = (1...UInt8(size)).map { $0 }
    let (low, high) = try other.context.floatingPoint(3)
    #expect(low == 0x0807_0605_0403_0201)
    #expect(high == (size == 16 ? 0x100f_0e0d_0c0b_0a09 : 0))
    try context.setFloatingPoint(31, low: 5, high: 6)
    for copy in [context] + context.shadows {
      let (low, high) = try copy.floatingPoint(31)
      #expect(low == 5 && high == (size == 16 ? 6 : 0))
    }
    #expect(ExecCtx.equal(context, context.shadows[0]))
  }

  @Test(arguments: Host.all) func floatingPointControlAndStatusAreSeenAndSet(host: Host) throws {
    let isARM = host.architecture == .arm64
    let registers = host.architecture.floatingPointRegisters
    let fixture = try called(host)
    fixture.kernel.cpus[0].registers[registers[32].id] = [0x11, 0, 0x40, 0]
    var (control, status) = try fixture.context.floatingPointControl()
    #expect(control == 0x40_0011 && status == 0)
    let context = try called(host, shadows: 1).context
    try context.setFloatingPointControl(.max, status: 0x7_0000_0010)
    for copy in [context] + context.shadows {
      (control, status) = try copy.floatingPointControl()
      #expect(control == 0xffff_ffff && status == (isARM ? 0x10 : 0))
    }
    #expect(try context.floatingPoint(0) == (0, 0))
    let program = try Program(host.architecture, [{ $0.systemCall(APPLET_CALL_YIELD) }])
    try program.context.schedule()
    try program.context.setFloatingPointControl(0x1f)
    #expect(program.kernel.cpus[0].registers[registers[32].id] == [0x1f, 0, 0, 0])
    #expect(try program.context.floatingPointControl() == (0x1f, 0))
  }

  /// The names of GoTEE's fields.
  @Test(arguments: Host.all) func theExceptionIsSeenInTheArchitecturesTerms(host: Host) throws {
    let isARM = host.architecture == .arm64
    let fixture = try Fixture(host)
    // A call, a load, a jump, an undefined instruction.
    let causes: [UInt64] = isARM ? [0x5600_0000, 0x9200_0006, 0x8200_0006, 0] : [8, 13, 12, 2]
    fixture.kernel.script(
      causes.map { cause in
        { cause == causes[0] ? $0.call(0x500) : $0.trap(cause: cause, address: 0x10, pc: Fixture.text + 0x20) }
      })
    let vectors: [ExceptionVector] = [.supervisor, .dataAbort, .prefetchAbort, .undefined]
    for (cause, vector) in zip(causes, vectors) {
      try fixture.context.exec()
      #expect(fixture.context.exceptionCause == cause && fixture.context.exceptionVector == vector)
      #expect(fixture.context.exceptionPC == Fixture.text + (vector == .supervisor ? 0x40 : 0x20))
    }
    #expect(ExceptionVector.supervisor.rawValue == 8 && ExceptionVector.dataAbort.rawValue == 0x10)
  }

  @Test(arguments: both) func floatingPointRegistersOfAProgramAreReadFromKVM(architecture: Architecture) throws {
    let program = try Program(architecture, [{ $0.systemCall(APPLET_CALL_YIELD) }])
    try program.context.schedule()
    try program.context.setFloatingPoint(2, low: 7, high: 8)
    let id = architecture.floatingPointRegisters[2].id
    let bytes = program.kernel.cpus[0].registers[id]
    #expect(bytes == [7, 0, 0, 0, 0, 0, 0, 0] + (architecture == .arm64 ? [8, 0, 0, 0, 0, 0, 0, 0] : []))
    #expect(try program.context.floatingPoint(2).low == 7)
  }

  /// GoTEE's Load: an entry point, and memory that the caller has filled.
  @Test(arguments: Host.all) func aContextIsMadeOfMemoryAndAnEntryPoint(host: Host) throws {
    let kernel = ScriptedKernel(host.architecture)
    let layout = try SecureLayout(
      image: 0x20_0000..<0x20_3000, size: 1 << 20, hostPage: UInt64(linux_page_size()), addressLimit: 1 << 38)
    var memory = try GuestMemory(layout: layout, kernel: kernel)
    try memory.addImage([1, 2, 3, 4], at: 0x20_0010, access: [.read, .execute])
    try memory.addImage([5], at: 0x20_2000, access: [.read, .write])
    #expect(throws: GuestMemoryError.access) {
      try memory.addImage([1], at: 0x20_1000, access: [.read, .write, .execute])
    }
    for (bytes, address) in [([1], 0x20_0800), ([1], 0x20_3000), ([1], 0x1f_f000), ([], 0x20_1000), ([1, 2], .max)]
      as [([UInt8], UInt64)]
    {
      #expect(throws: GuestMemoryError.outside) { try memory.addImage(bytes, at: address, access: [.read]) }
    }
    try memory.write([9], at: 0x20_2001)
    #expect(throws: GuestMemoryError.outside) { try memory.write([9], at: 0x20_1000) }
    let context = try ExecCtx(
      entry: 0x20_0010, memory: memory, system: try KVM.System(kernel: kernel), architecture: host.architecture)
    #expect(context.isSecure && context.pc == 0x20_0010)
    #expect(try context.readMemory(at: 0x20_0010, count: 4, for: .execute) == [1, 2, 3, 4])
    #expect(try context.readMemory(at: 0x20_2000, count: 2, for: .write) == [5, 9])
    #expect(context.deviceTree.prefix(4) == [0xd0, 0x0d, 0xfe, 0xed])
    kernel.program = { guest in guest.call(APPLET_CALL_EXIT_STATUS, UInt64(guest.bytes(at: 0x20_2001, count: 1)[0])) }
    #expect(try context.run() == .exited(status: 9))
  }
}

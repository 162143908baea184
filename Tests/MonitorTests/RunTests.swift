import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport
import Testing

/// Runs and their outcomes.
struct RunTests {
  private static func exit(_ guest: Guest) -> Int { guest.call(APPLET_CALL_EXIT, 0) }

  @Test(arguments: Host.all) func interruptedEntriesAreRepeated(host: Host) throws {
    let fixture = try Fixture(
      host, [{ _ in -Int(EINTR) }, { _ in -Int(EAGAIN) }, { $0.exit(10) }, { _ in -Int(EINTR) }, Self.exit])
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(fixture.kernel.cpus[0].entries == 5)
    #expect(fixture.context.calls == 1)
  }

  @Test(arguments: Host.all, [EFAULT, ENOSYS, EOPNOTSUPP, EIO, EINVAL, EBADF])
  func anEntryThatFailsEndsTheRun(host: Host, errno: Int32) throws {
    let fixture = try Fixture(host, [{ $0.call(APPLET_CALL_YIELD) }, { _ in -Int(errno) }])
    #expect(fixture.run() == .failure(.kvm(.failed(.run, Errno(errno)))))
  }

  @Test(arguments: Host.all) func unexpectedExitsEndTheRun(host: Host) throws {
    let exits: [((Guest) -> Int, Exit)] = [
      ({ $0.exit(24) { $0.system_event.type = 1 } }, .systemEvent(type: 1)),
      ({ $0.exit(9) { $0.fail_entry.hardware_entry_failure_reason = 3 } }, .failEntry(reason: 3)),
      ({ $0.exit(17) { $0.internal.suberror = 4 } }, .internalError(suberror: 4)),
      ({ $0.exit(99) }, .unknown(reason: 99)), ({ $0.exit(.max) }, .unknown(reason: .max)),
      (
        { $0.mmio(0x900_0000, isWrite: false, [0, 0, 0, 0]) },
        .mmio(address: 0x900_0000, length: 4, isWrite: false, value: 0)
      ),
      (
        { $0.mmio(0x900_0000, isWrite: true, [7]) }, .mmio(address: 0x900_0000, length: 1, isWrite: true, value: 7)
      ),
      ({ $0.sbi(0x0900_0000, 2) }, .sbi(extension: 0x0900_0000, function: 2)),
      ({ $0.exit(3) { $0.hypercall.nr = 0x55 } }, .hypercall(function: 0x55)),
    ]
    for (guest, exit) in exits {
      let fixture = try Fixture(host, [guest])
      #expect(fixture.run() == .failure(.unexpectedExit(exit)))
    }
  }

  /// A load from the doorbell, or a store to it with another transport, is not a call.
  @Test(arguments: Host.all) func onlyStoresOfTheShimRingTheDoorbell(host: Host) throws {
    for isWrite in [false, true] where !(isWrite && host.transport == .mmio) {
      let fixture = try Fixture(
        host,
        [{ $0.mmio($0.frame[Int(APPLET_FRAME_DOORBELL)], isWrite: isWrite, [0, 0, 0, 0]) }])
      let doorbell = fixture.context.memory.layout.doorbell
      #expect(
        fixture.run() == .failure(.unexpectedExit(.mmio(address: doorbell, length: 4, isWrite: isWrite, value: 0))))
    }
  }

  @Test func aShimThatFaultsIsReported() throws {
    let fixture = try Fixture(Host.all[0], [{ $0.hypercall(2) }])
    #expect(fixture.run() == .failure(.shim))
  }

  /// An exception, with its cause, its address, and whether the message has the address.
  @Test(
    arguments: [
      (Host.all[0], 0x9200_0045, .write, true), (Host.all[1], 0x9200_0005, .read, true),
      (Host.all[1], 0x8200_0005, .execute, true), (Host.all[0], 0x0200_0000, .undefinedInstruction, false),
      (Host.all[0], 0x6232_c001, .privilegedInstruction, false), (Host.all[0], 0xf200_0000, .breakpoint, false),
      (Host.riscv64, 15, .write, true), (Host.riscv64, 13, .read, true), (Host.riscv64, 12, .execute, true),
      (Host.riscv64, 2, .undefinedInstruction, false), (Host.riscv64, 3, .breakpoint, false),
      (Host.riscv64, 10, .other(10), false),
    ] as [(Host, UInt64, Fault, Bool)])
  func anExceptionEndsTheRunWithWhatAndWhere(host: Host, cause: UInt64, fault: Fault, hasAddress: Bool) throws {
    let fixture = try Fixture(
      host,
      [
        { guest in
          for byte in "unfinished".utf8 { guest.bytes(at: Fixture.heap, count: 1)[0] = byte }
          guest.store(Array("unfinished".utf8), at: Fixture.heap)
          return guest.call(APPLET_CALL_WRITE, Fixture.heap, 10)
        },
        { $0.trap(cause: cause, address: 0xdead_0000, pc: 0x8000_0044) },
      ])
    #expect(
      fixture.run() == .failure(.fault(fault, pc: 0x8000_0044, address: hasAddress ? 0xdead_0000 : nil)))
    // Earlier output is not lost.
    #expect(fixture.output.pieces() == ["unfinished"])
    let code = host.architecture == .arm64 ? cause >> 26 : cause
    #expect(fixture.context.cause.code == code && !fixture.context.cause.isInterrupt)
    #expect(fixture.context.mode.saved == .user)
    let registers = fixture.context.description
    #expect(registers.contains("pc:0000000080000044"))
    #expect(registers.contains("address:00000000dead0000") == hasAddress)
    #expect(registers.contains(host.architecture == .arm64 ? "x30:" : "t6:"))
  }

  @Test(arguments: Host.all) func aCustomHandlerAnswersCalls(host: Host) throws {
    let seen = Notes<[UInt64]>()
    let results = Notes<UInt64>()
    let fixture = try Fixture(
      host,
      [
        { $0.call(0x7777, 1, 2, 3) },
        { guest in
          results(guest.result); return guest.call(1, 0x41)
        }, Self.exit,
      ])
    fixture.context.handler = { context throws(ExecError) in
      seen([context.a0, context.a1, context.a2, context.a3])
      if context.a0 == 0x7777 { return context.ret(Int32(-5)) }
      try secureHandler(context)
    }
    #expect(fixture.run() == .success(.exited(status: 0)))
    #expect(seen.list.first == [0x7777, 1, 2, 3])
    #expect(results.list == [UInt64(bitPattern: -5)])
    #expect(fixture.context.calls == 3)
  }

  @Test(arguments: Host.all) func aHandlerCanEndTheRun(host: Host) throws {
    let fixture = try Fixture(host, [{ $0.call(APPLET_CALL_YIELD) }, Self.exit])
    fixture.context.handler = { _ throws(ExecError) in throw .host(.noMemory) }
    #expect(fixture.run() == .failure(.host(.noMemory)))
    // It can be run again, and continues after the call.
    fixture.context.handler = nil
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func execAndScheduleReturnAtEachCall(host: Host) throws {
    let fixture = try Fixture(
      host, [{ _ in -Int(EINTR) }, { $0.call(7, 1) }, { _ in -Int(EINTR) }, { $0.call(8, 1) }, Self.exit])
    #expect(try fixture.context.exec() == .interrupted)
    #expect(try fixture.context.exec() == .call)
    #expect(fixture.context.a0 == 7)
    try fixture.context.schedule()
    #expect(fixture.context.a0 == 8)
    #expect(fixture.context.calls == 2)
    #expect(fixture.run() == .success(.exited(status: 0)))
  }

  @Test(arguments: Host.all) func outputThatCannotBeWrittenEndsTheRun(host: Host) throws {
    let full = Int32(linux_open("/dev/full", O_WRONLY, 0))
    defer { _ = linux_close(full) }
    let kernel = ScriptedKernel(host.architecture)
    let context = try Fixture.context(host, kernel, output: full)
    kernel.script([{ $0.call(APPLET_CALL_PUT_CHARACTER, 10) }])
    #expect(throws: ExecError.output(Errno(ENOSPC))) { try context.run() }
    let second = try Fixture.context(host, kernel, output: full)
    kernel.program = { $0.entry == 0 ? $0.call(APPLET_CALL_PUT_CHARACTER, 65) : Self.exit($0) }
    #expect(throws: ExecError.output(Errno(ENOSPC))) { try second.run() }
  }

  /// Random registers at an exit lead to an outcome.
  @Test(arguments: Host.all, 0..<3) func arbitraryRegistersNeverTrap(host: Host, seed: Int) throws {
    final class Source { var random: SeededGenerator; init(_ seed: UInt64) { random = SeededGenerator(seed: seed) } }
    let source = Source(UInt64(seed))
    let feed = try Feed(isEnded: true)
    let fixture = try Fixture(host, input: feed.descriptor)
    let addresses: [UInt64] = [
      0, 1, Fixture.text, Fixture.variables, Fixture.heap, Fixture.guardPage, Fixture.end - 8, Fixture.end, 1 << 38,
      .max, .max - 7, 1 << 63,
    ]
    fixture.kernel.program = { guest in
      for register in host.architecture.facts.generalRegisters {
        guest.frame[register] = source.random.next() >> UInt64.random(in: 0..<64, using: &source.random)
      }
      guest.frame[Int(APPLET_FRAME_PC)] =
        addresses.randomElement(using: &source.random)! &+ .random(in: 0..<16, using: &source.random)
      guest.frame[Int(APPLET_FRAME_STATUS)] = source.random.next()
      let number = source.random.next() % 0x120
      // Except calls that sleep.
      guard Int.random(in: 0..<10, using: &source.random) > 0, number != UInt64(APPLET_CALL_SLEEP) else {
        return guest.trap(
          cause: source.random.next() >> UInt64.random(in: 0..<64, using: &source.random), address: source.random.next()
        )
      }
      return guest.call(
        number, addresses.randomElement(using: &source.random)! &+ .random(in: 0..<16, using: &source.random),
        addresses.randomElement(using: &source.random)! >> UInt64.random(in: 0..<64, using: &source.random))
    }
    for _ in 0..<2000 {
      switch fixture.run() {
      case .failure(let error): #expect(!error.description.contains("\n"))
      case .success(.exited): return
      case .success(let outcome): Issue.record("\(outcome), which nobody asked for")
      }
      _ = (fixture.context.description, fixture.context.cause, fixture.context.mode)
      _ = fixture.context.name(of: fixture.context.pc)
      _ = fixture.output.pieces()
    }
  }
}

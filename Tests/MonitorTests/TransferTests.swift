import AppletABI
import CLinux
import KVM
import Machine
import Platform
import TestSupport
import Testing

@testable import Monitor

/// The transfer buffers, with scripted guests and a handler.
struct TransferTests {
  /// A context after a call with these arguments.
  private func called(_ host: Host, _ address: UInt64, _ count: UInt64) throws -> Fixture {
    let fixture = try Fixture(host, [{ $0.call(APPLET_CALL_RPC_REQUEST, address, count) }])
    try fixture.context.schedule()
    return fixture
  }

  private func read(_ context: ExecCtx, _ count: Int) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let read = bytes.withUnsafeMutableBytes { context.read(into: $0) }
    return Array(bytes.prefix(read))
  }

  @Test(arguments: Host.all) func theTransferRegionIsThatOfTheCall(host: Host) throws {
    let context = try called(host, Fixture.variables + 8, 24).context
    let (offset, count) = try context.transferRegion()
    #expect(offset == Fixture.variables + 8 - context.memory.layout.slot.lowerBound)
    #expect(count == 24)
  }

  @Test(arguments: Host.all, [0, 1, 4096] as [UInt64]) func theLastByteOfARegionIsAccessible(host: Host, count: UInt64)
    throws
  {
    let end = Fixture.end
    try called(host, end - count, count).context.recv()
    let beyond = try called(host, end - count, count + 1).context
    #expect(throws: ExecError.badRange(call: 4, address: end - count, count: count + 1, .outside)) {
      try beyond.recv()
    }
    #expect(throws: ExecError.self) { try beyond.transferRegion() }
    let wrapping = try called(host, end - 1, .max).context
    #expect(throws: ExecError.badRange(call: 4, address: end - 1, count: .max, .outside)) { try wrapping.recv() }
    #expect(throws: ExecError.self) { try beyond.flush(errno: nil) }
  }

  @Test(arguments: Host.all) func receivedDataIsReadInParts(host: Host) throws {
    let context = try called(host, Fixture.variables, 9).context
    try context.poke(Fixture.variables - context.memory.layout.slot.lowerBound, Array("123456789".utf8))
    try context.recv()
    try context.recv()
    #expect(read(context, 4) == Array("1234".utf8))
    #expect(read(context, 100) == Array("56789123456789".utf8))
    #expect(read(context, 1) == [])
    context.rpcLimit = 17
    try context.recv()
    #expect(throws: ExecError.transferLimit) { try context.recv() }
    context.close()
  }

  @Test(arguments: Host.all) func writtenDataIsFetchedAsItFits(host: Host) throws {
    let fixture = try called(host, Fixture.variables, 4)
    let context = fixture.context
    try context.write(Array("ans".utf8))
    try context.write(Array("wer".utf8))
    #expect(try context.flush(errno: .again) == 0)
    #expect(Int64(bitPattern: context.a0) == -Int64(EPIPE))
    for wanted in ["answ", "er", ""] {
      #expect(try context.flush(errno: nil) == wanted.utf8.count)
      #expect(context.a0 == UInt64(wanted.utf8.count))
      #expect(fixture.bytes(at: Fixture.variables, count: wanted.utf8.count) == Array(wanted.utf8))
    }
    #expect(throws: ExecError.transferLimit) {
      try context.write([UInt8](repeating: 0, count: 2 * ExecCtx.defaultRPCLimit + 1))
    }
  }

  /// A guest that never gets the last byte does not make the buffer grow.
  @Test(arguments: Host.all) func fetchedResponsesAreReleased(host: Host) throws {
    let fixture = try called(host, Fixture.heap, 60_000)
    let context = fixture.context
    try context.write([0])
    for round in 1...100 as ClosedRange<UInt8> {
      try context.write([UInt8](repeating: round, count: 60_000))
      // The frame's second argument has been replaced by the result.
      #expect(try context.flush(errno: nil) == 60_000)
      let bytes = fixture.bytes(at: Fixture.heap, count: 60_000)
      #expect(bytes[0] == round - 1 && bytes[1] == round && bytes[59_999] == round)
      #expect(context.rpc.transfer.output.count <= 120_001)
    }
    #expect(context.rpc.transfer.output.capacity < 1 << 18)
  }

  @Test(arguments: Host.all) func pokeWritesReadOnlyMemoryButNothingOutside(host: Host) throws {
    let fixture = try called(host, 0, 0)
    let context = fixture.context
    let start = context.memory.layout.slot.lowerBound
    try context.poke(Fixture.text - start, [1, 2, 3, 4])
    #expect(fixture.bytes(at: Fixture.text, count: 4) == [1, 2, 3, 4])
    for address in [Fixture.guardPage, context.memory.layout.shim, context.memory.layout.frame, Fixture.end, .max] {
      #expect(throws: ExecError.self) { try context.poke(address &- start, [9]) }
    }
  }

  @Test(arguments: Host.all) func pokeWritesToShadows(host: Host) throws {
    let fixture = try called(host, 0, 0)
    let context = fixture.context
    let system: KVM.System = try KVM.System(kernel: fixture.kernel)
    let clone = try context.clone(on: system)
    try context.setShadows([clone])
    try context.poke(Fixture.variables - context.memory.layout.slot.lowerBound, [7, 8])
    #expect(Array(clone.memory.bytes(at: Fixture.variables, count: 2)) == [7, 8])
  }

  /// Programs in system mode have the same calls, but no layout with a shim.
  @Test(arguments: both) func programsHaveATransferRegion(architecture: Architecture) throws {
    let program = try Program(architecture)
    let context = program.context
    let heap = program.start(of: .heap)
    program.kernel.script([{ $0.systemCall(APPLET_CALL_RPC_REQUEST, heap + 8, 4) }])
    #expect(try context.schedule() == nil)
    let (offset, count) = try context.transferRegion()
    #expect(offset == heap + 8 - context.memory.slot.lowerBound && count == 4)
    try context.poke(offset, Array("poke".utf8))
    try context.recv()
    #expect(read(context, 100) == Array("poke".utf8))
    #expect(throws: ExecError.self) { try context.poke(.max &- context.memory.slot.lowerBound, [9]) }
  }

  @Test(arguments: both) func programsCanMakeRPCs(architecture: Architecture) throws {
    let program = try Program(architecture)
    let heap = program.start(of: .heap)
    let request = Array(#"{"method":"RPC.Nothing","params":[1],"id":7}"#.utf8)
    let answer = Notes<String>()
    program.kernel.script([
      { guest in
        guest.store(request, at: heap)
        return guest.systemCall(APPLET_CALL_RPC_REQUEST, heap, UInt64(request.count))
      },
      { $0.systemCall(APPLET_CALL_RPC_RESPONSE, heap + 4096, 4096) },
      { guest in
        answer(String(decoding: guest.bytes(at: heap + 4096, count: Int(guest.systemResult)), as: UTF8.self))
        return guest.systemCall(APPLET_CALL_EXIT_STATUS, 3)
      },
    ])
    #expect(program.run() == .success(.exited(status: 3)))
    #expect(answer.list.count == 1 && answer.list[0].contains("\"id\":7"), "\(answer.list)")
  }
}

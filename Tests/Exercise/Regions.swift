import Applet
import CLinux
import Machine
import Monitor
import Platform

/// Memory regions, which stand for GoTEE's MMU and PMP hooks, and the transfer region.
var regionCases: [Case] {
  [
    Case("region-add") { (host) throws(Failure) in
      let context = try host.context("obey")
      let page = try host.sharedMemory(hostPage)
      let last = place + UInt64(hostPage) - 8
      page.bytes.storeBytes(of: 42, toByteOffset: hostPage - 8, as: UInt64.self)
      try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read, .write]) }
      var results: [UInt64] = []
      context.handler = orders([(1, last), (2, place), (1, place)]) { _, result in results.append(result) }
      try expectRun(context)
      try expect(results == [42, 0, stored], "it found other values")
      try equal(page.bytes.load(as: UInt64.self), stored, "what the monitor sees")
    },
    Case("region-is-listed") { (host) throws(Failure) in
      let output = try Pipe()
      let context = try host.context("regions", output: output.writing)
      let page = try host.sharedMemory(hostPage)
      try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read]) }
      try expectRun(context)
      let text = output.contents()
      try expect(has(text, "0x180000000-0x18000"), "it is not listed in\n\(text)")
      try expect(has(text, "r-- added"), "its access is wrong in\n\(text)")
    },
    Case("region-shared") { (host) throws(Failure) in
      // One writes, the other one may only read what it writes.
      let page = try host.sharedMemory(hostPage)
      let writer = try host.context("obey")
      let reader = try host.context("obey")
      try changed { () throws(RegionError) in
        try writer.addRegion(at: place, page, access: [.read, .write])
        try reader.addRegion(at: place * 2, page, access: [.read])
      }
      writer.handler = orders([(2, place + 64)])
      try expectRun(writer)
      var read: UInt64 = 0
      reader.handler = orders([(1, place * 2 + 64), (2, place * 2 + 64)]) { at, result in if at == 0 { read = result } }
      try expectFault(run(reader), .write, place * 2 + 64)
      try equal(read, stored, "what the reader found")
    },
    Case("region-protect") { (host) throws(Failure) in
      let context = try host.context("obey")
      let pages = try host.sharedMemory(2 * hostPage)
      let second = place + UInt64(hostPage)
      try changed { () throws(RegionError) in try context.addRegion(at: place, pages, access: [.read, .write]) }
      let inner = orders([(2, second), (2, place), (1, second), (2, second)])
      context.handler = { (context) throws(ExecError) in
        // Between two entries: what was allowed before is not any more.
        if context.a0 == 0x502 {
          do throws(RegionError) { try context.protect(second..<second + 4096, [.read]) } catch {
            throw .unknownCall(number: 1)
          }
        }
        try inner(context)
      }
      try expectFault(run(context), .write, second)
      try changed { () throws(RegionError) in try context.protect(second..<second + 4096, []) }
      context.handler = orders([])
      try expectFault(run(context), .write, second)
      try changed { () throws(RegionError) in try context.protect(second..<second + 4096, [.read, .write]) }
      try expectRun(context)
    },
    Case("region-execute") { (host) throws(Failure) in
      // Code that is written and then made executable, never both at once.
      let context = try host.context("obey")
      let page = try host.sharedMemory(hostPage)
      let back: UInt32 = host.architecture == .arm64 ? 0xd65f_03c0 : 0x0000_8067
      page.bytes.storeBytes(of: back, as: UInt32.self)
      try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read, .write]) }
      try refused(.writableAndExecutable) { () throws(RegionError) in
        try context.protect(place..<place + 4096, [.read, .write, .execute])
      }
      context.handler = orders([(3, place)])
      try expectFault(run(context), .execute, place)
      try changed { () throws(RegionError) in try context.protect(place..<place + 4096, [.read, .execute]) }
      try expectRun(context)
    },
    Case("region-remove") { (host) throws(Failure) in
      let page = try host.sharedMemory(hostPage)
      let context = try host.context("obey")
      try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read]) }
      let inner = orders([(1, place), (1, place)])
      context.handler = { (context) throws(ExecError) in
        if context.a0 == 0x502 {
          do throws(RegionError) { try context.removeRegion(at: place) } catch { throw .unknownCall(number: 1) }
        }
        try inner(context)
      }
      try expectFault(run(context), .read, place)
      // It can be given again, and the load that faulted goes through.
      try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read]) }
      context.handler = orders([])
      try expectRun(context)
    },
    Case("region-remove-while-stopped") { (host) throws(Failure) in
      // Stopped amid its own code, with the translation still cached by the processor.
      let page = try host.sharedMemory(hostPage)
      let context = try host.context("hammer")
      try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read, .write]) }
      let hasCalled = Flag()
      context.handler = { (context) throws(ExecError) in
        context.ret(place)
        hasCalled.set()
      }
      let runner = try Runner(context)
      try hasCalled.wait()
      sleepFor(microseconds: 20000)
      try runner.expectStop()
      try expect(page.bytes.load(as: UInt64.self) > 0, "it has not begun")
      try changed { () throws(RegionError) in try context.protect(place..<place + UInt64(hostPage), [.read]) }
      context.deadline = Clock.monotonic + 2_000_000_000
      try expectFault(run(context), .write, place)
    },
    Case("region-refused") { (host) throws(Failure) in
      let context = try host.context("obey")
      let page = try host.sharedMemory(hostPage)
      let own = context.memory.layout.slot.lowerBound
      try refused(.taken) { () throws(RegionError) in try context.addRegion(at: 0, page, access: [.read]) }
      try refused(.taken) { () throws(RegionError) in try context.addRegion(at: own, page, access: [.read]) }
      try refused(.taken) { () throws(RegionError) in try context.addRegion(at: 1 << 60, page, access: [.read]) }
      try refused(.misaligned) { () throws(RegionError) in try context.addRegion(at: place + 8, page, access: [.read]) }
      try refused(.missing) { () throws(RegionError) in try context.removeRegion(at: place) }
      try refused(.missing) { () throws(RegionError) in try context.protect(place..<place + 4096, [.read]) }
      try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read]) }
      try refused(.taken) { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read]) }
      // Scattered so far that the page tables have no room: refused, and what is there still works.
      var given = 0
      do throws(RegionError) {
        for number in 2..<200 as Range<UInt64> {
          try context.addRegion(at: number << 30 | 1 << 29, page, access: [.read])
          given += 1
        }
      } catch { try expect(error == .tablesFull, error.description) }
      try expect(given >= 8, "only \(given) scattered regions were given")
      context.handler = orders([(1, place), (1, 2 << 30 | 1 << 29)])
      try expectRun(context)
    },
    Case("region-in-lockstep") { (host) throws(Failure) in
      for parallel in [false, true] {
        let context = try host.context("obey")
        try host.addShadows(1, to: context, parallel: parallel)
        let written = try host.sharedMemory(hostPage)
        let read = try host.sharedMemory(hostPage)
        read.bytes.storeBytes(of: 7, as: UInt64.self)
        try changed { () throws(RegionError) in
          try context.addRegion(at: place, written, access: [.read, .write])
          try context.addRegion(at: place * 2, read, access: [.read])
        }
        var results: [UInt64] = []
        context.handler = orders([(2, place), (1, place), (1, place * 2)]) { _, result in results.append(result) }
        try expectRun(context)
        try expect(results == [0, stored, 7], "it found other values")
        // A copy taken with added memory has the same.
        let again = try host.context("obey")
        try changed { () throws(RegionError) in
          try again.addRegion(at: place, written, access: [.read, .write])
          try again.addRegion(at: place * 2, read, access: [.read])
          try again.protect(place..<place + 4096, [.read])
        }
        try host.addShadows(2, to: again, parallel: parallel)
        again.handler = orders([(1, place), (1, place * 2), (2, place)])
        try expectFault(run(again), .write, place)
        // And changes with it.
        try changed { () throws(RegionError) in
          try again.protect(place..<place + 4096, [.read, .write])
          try again.removeRegion(at: place * 2)
        }
        // The store that faulted goes through now, and each copy counts on in memory of its own.
        var counted: [UInt64] = []
        again.handler = orders([(0, 0), (8, place), (8, place), (1, place * 2)]) { _, result in counted.append(result) }
        try expectFault(run(again), .read, place * 2)
        try expect(counted == [0, stored, stored + 1], "it found other values: \(counted)")
      }
    },
    Case("region-non-secure") { (host) throws(Failure) in
      // A program in system mode turns its MMU off: no page table says then what it may do, but its machine does.
      for (how, fault) in [("write", Fault.write), ("read", nil)] as [(String, Fault?)] {
        let context = try host.program("system-stray-access", [how, "off", "0x180000000"])
        let page = try host.sharedMemory(hostPage)
        try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read]) }
        let ending = run(context)
        if let fault {
          try expectFault(ending, fault, place)
        } else {
          // It panics, for something is there.
          try expectEnding(ending, .success(.exited(status: 134)))
        }
        try equal(page.bytes.load(as: UInt64.self), 0, "what stands there")
      }
      for (access, wanted) in [(Access(), Fault.read), ([.read, .write], nil)] as [(Access, Fault?)] {
        let context = try host.program("system-stray-access", ["read", "off", "0x180000000"])
        let page = try host.sharedMemory(hostPage)
        try changed { () throws(RegionError) in
          try context.addRegion(at: place, page, access: [.read])
          try context.protect(place..<place + UInt64(hostPage), access)
        }
        let ending = run(context)
        if let wanted {
          try expectFault(ending, wanted, place)
        } else {
          try expectEnding(ending, .success(.exited(status: 134)))
        }
      }
    },
    Case("region-limit-handler") { (host) throws(Failure) in
      // Changed while the guest is amid its own code, with the translation still cached by the processor.
      let page = try host.sharedMemory(hostPage)
      let context = try host.context("hammer")
      try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read, .write]) }
      context.handler = { (context) throws(ExecError) in
        context.ret(place)
        context.deadline = Clock.monotonic + 20_000_000
      }
      var passed = 0
      context.limitHandler = { (context, _) in
        passed += 1
        try? context.protect(place..<place + UInt64(hostPage), [.read])
        return passed == 1 ? 2_000_000_000 : nil
      }
      try expectFault(run(context), .write, place)
    },
    Case("clone-then-grow") { (host) throws(Failure) in
      // A clone whose original has made page tables of its own can make more without harm to those.
      let context = try host.context("obey")
      let page = try host.sharedMemory(hostPage)
      for number in 4..<8 as Range<UInt64> {
        try changed { () throws(RegionError) in try context.addRegion(at: number << 30, page, access: [.read]) }
      }
      let clone: ExecCtx
      clone = try host.clone(of: context)
      let more = try host.sharedMemory(hostPage)
      more.bytes.storeBytes(of: 9, as: UInt64.self)
      try changed { () throws(RegionError) in try clone.addRegion(at: 9 << 30, more, access: [.read]) }
      var results: [UInt64] = []
      clone.handler = orders([(1, 4 << 30), (1, 5 << 30), (1, 9 << 30), (1, 7 << 30)]) { _, result in
        results.append(result)
      }
      try expectRun(clone)
      try expect(results == [0, 0, 9, 0], "it found other values")
    },
  ]
}

/// Where regions are added.
private let place: UInt64 = 0x1_8000_0000
/// What `obey` stores.
private let stored: UInt64 = 0x1122_3344_5566_7788

var hostPage: Int { linux_page_size() }

func expectFault(_ ending: Ending, _ fault: Fault, _ address: UInt64?) throws(Failure) {
  if case .failure(.fault(fault, _, let found)) = ending, address == nil || found == address { return }
  throw Failure("it ended so: \(text(ending)); not so: \(fault.description), address \(address ?? 0)")
}

private func refused(_ wanted: RegionError, _ body: () throws(RegionError) -> Void) throws(Failure) {
  do { try body() } catch {
    try expect(error == wanted, "refused, but so: \(error.description)")
    return
  }
  throw Failure("not refused: \(wanted.description)")
}

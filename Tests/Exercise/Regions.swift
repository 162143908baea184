import Applet
import AppletABI
import CExercise
import CLinux
import Machine
import Monitor
import Platform

/// Memory regions, which correspond to GoTEE's MMU and PMP hooks, and the transfer region.
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
    Case("mmio") { (host) throws(Failure) in
      // A device that behaves like memory, to loads and stores of every kind; without permission the first of them is a fault.
      // In AArch32, too; there the addresses of applets are others.
      let names = host.architecture == .arm64 ? ["mmio", "aarch32-mmio"] : ["mmio"]
      for name in names {
        var accesses: [Int] = []
        let device: Range<UInt64> = name == "mmio" ? 0x1000_0000..<0x1000_0100 : 0x1800_0000..<0x1800_0100
        for shadows in [0, 1, 2] {
          let context = try host.context(name)
          try host.addShadows(shadows, to: context)
          var bytes = [UInt8](repeating: 0, count: 256)
          var count = 0
          context.accessHandler = { (_, access) throws(ExecError) in
            guard device.contains(access.address) else { return nil }
            count += 1
            let first = Int(access.address - device.lowerBound)
            switch access.operation {
            case .load: return (0..<access.width).reversed().reduce(0) { $0 << 8 | UInt64(bytes[first + $1]) }
            case .store(let value):
              for index in 0..<access.width {
                bytes[first + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * index))
              }
              return 0
            }
          }
          try expectRun(context)
          accesses.append(count)
        }
        try expect(accesses == Array(repeating: accesses[0], count: 3), "copies ask for themselves: \(accesses)")
        try expectFault(run(try host.context(name)), .write, device.lowerBound)
      }
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
      // One context writes, the other may only read the data.
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
        // Between two entries: the access is forbidden from the next entry on.
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
      // It can be added again, and the load that faulted succeeds.
      try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read]) }
      context.handler = orders([])
      try expectRun(context)
    },
    Case("region-remove-while-stopped") { (host) throws(Failure) in
      // Stopped in its own code, while the CPU holds the translation.
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
      for _ in 0..<5000 where page.bytes.load(as: UInt64.self) == 0 { sleepFor(microseconds: 2000) }
      try runner.expectStop()
      try expect(page.bytes.load(as: UInt64.self) > 0, "it has not begun")
      try changed { () throws(RegionError) in try context.protect(place..<place + UInt64(hostPage), [.read]) }
      context.deadline = Clock.monotonic + 20_000_000_000
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
      // Regions so far apart that the page tables are full: an error, and existing regions still work.
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
        // A clone made with added memory has the same.
        let again = try host.context("obey")
        try changed { () throws(RegionError) in
          try again.addRegion(at: place, written, access: [.read, .write])
          try again.addRegion(at: place * 2, read, access: [.read])
          try again.protect(place..<place + 4096, [.read])
        }
        try host.addShadows(2, to: again, parallel: parallel)
        again.handler = orders([(1, place), (1, place * 2), (2, place)])
        try expectFault(run(again), .write, place)
        // It changes with the context.
        try changed { () throws(RegionError) in
          try again.protect(place..<place + 4096, [.read, .write])
          try again.removeRegion(at: place * 2)
        }
        // The store that faulted succeeds now, and each copy continues with memory of its own.
        var counted: [UInt64] = []
        again.handler = orders([(0, 0), (8, place), (8, place), (1, place * 2)]) { _, result in counted.append(result) }
        try expectFault(run(again), .read, place * 2)
        try expect(counted == [0, stored, stored + 1], "it found other values: \(counted)")
      }
    },
    Case("region-non-secure") { (host) throws(Failure) in
      // A program in system mode turns its MMU off: only the memory slots restrict it then.
      for (how, fault) in [("write", Fault.write), ("read", nil)] as [(String, Fault?)] {
        let context = try host.program("system-stray-access", [how, "off", "0x180000000"])
        let page = try host.sharedMemory(hostPage)
        try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read]) }
        let ending = run(context)
        if let fault {
          try expectFault(ending, fault, place)
        } else {
          // It panics, because the memory exists.
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
      // Changed while the guest is in its own code, and the CPU holds the translation.
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
        return passed == 1 ? 20_000_000_000 : nil
      }
      try expectFault(run(context), .write, place)
    },
    Case("region-remove-during-call") { (host) throws(Failure) in
      // What a call writes out is removed meanwhile, by the handler of a limit and by that of another CPU's call. The output is what
      // was there, not what the monitor then has at these addresses.
      for isProgram in [false, true] {
        let output = try Pipe()
        let size = 1 << 20
        let context =
          try isProgram
          ? host.program("system-write-region", ["\(size)"], output: output.writing, cpus: 2)
          : host.context("write-region", ["\(size)"], output: output.writing)
        try addDots(size, to: context, host)
        let removal = Removal(host, size: size)
        context.handler = { (context) throws(ExecError) in
          if context.a0 == 0x50 {
            removal.perform(on: context)
            context.ret(UInt64(0))
          } else if isProgram {
            try nonSecureHandler(context)
          } else {
            if context.a0 == UInt64(APPLET_CALL_WRITE) { context.deadline = Clock.monotonic + 50_000_000 }
            try secureHandler(context)
          }
        }
        context.limitHandler = { (context, _) in
          removal.perform(on: context)
          return 60_000_000_000
        }
        let (reading, isRemoved, isOver) = (output.reading, removal.isDone, Flag())
        let (dots, others) = (Flag(), Flag())
        _ = exercise_nonblocking(reading)
        let reader = try started {
          var bytes = [UInt8](repeating: 0, count: 65536)
          while true {
            let mayRead = isRemoved.isSet || isOver.isSet
            let last = isOver.isSet
            let count = mayRead ? bytes.withUnsafeMutableBytes { linux_read(reading, $0.baseAddress, $0.count) } : 0
            if count <= 0 {
              if last { return }
              sleepFor(microseconds: 1000)
            } else {
              let found = bytes[..<count].reduce(0) { $0 + ($1 == 0x2e ? 1 : 0) }
              dots.add(found)
              others.add(count - found)
            }
          }
        }
        let ending = run(context)
        isOver.set()
        reader.join()
        try expectEnding(ending, .success(.exited(status: 0)))
        try expect(removal.isDone.number == 1, "removed \(removal.isDone.number) times")
        try expect(dots.number == size && others.number == 0, "\(dots.number) bytes of it, and \(others.number) others")
      }
    },
    Case("clone-then-grow") { (host) throws(Failure) in
      // A clone and its original can each add page tables without affecting the other.
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

/// Adds memory full of dots, which nobody else keeps.
private func addDots(_ count: Int, to context: ExecCtx, _ host: Host) throws(Failure) {
  let memory = try host.sharedMemory(count)
  memory.bytes.initializeMemory(as: UInt8.self, repeating: 0x2e)
  try changed { () throws(RegionError) in try context.addRegion(at: place, memory, access: [.read, .write]) }
}

/// Removes a region, and maps memory that may reuse its addresses.
private final class Removal {
  let isDone = Flag()
  private let host: Host
  private let size: Int
  private var others: [SharedMemory] = []

  init(_ host: Host, size: Int) {
    self.host = host
    self.size = size
  }

  func perform(on context: ExecCtx) {
    do throws(RegionError) { try context.removeRegion(at: place) } catch { return }
    for _ in 0..<4 {
      guard let memory = try? host.sharedMemory(size) else { continue }
      memory.bytes.initializeMemory(as: UInt8.self, repeating: 0x53)
      others.append(memory)
    }
    isDone.set()
  }
}

/// The address of added regions.
private let place: UInt64 = 0x1_8000_0000
/// The value that `obey` stores.
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

import Applet
import Machine
import Monitor
import Platform

/// TransferRegion, Poke, Read, Write, Recv, Flush, Close, Server; memory.
var transferCases: [Case] {
  [
    Case("transfer") { (host) throws(Failure) in
      let context = try host.context("values")
      try monitored { () throws(ExecError) in try context.schedule() }
      let stack = context.memory.layout.stack
      let start = stack.lowerBound - context.memory.layout.slot.lowerBound
      func name(_ address: UInt64, _ count: UInt64) {
        context.setValue(of: host.architecture.callRegister + 1, address)
        context.setValue(of: host.architecture.callRegister + 2, count)
      }
      // Data that it sends with two calls is read in parts of the reader's size.
      try monitored { () throws(ExecError) in try context.poke(start, Array("hello, world".utf8)) }
      for (address, count) in [(stack.lowerBound, 5), (stack.lowerBound + 5, 7)] as [(UInt64, UInt64)] {
        name(address, count)
        let region = try monitored { () throws(ExecError) in try context.transferRegion() }
        try expect(region == (address - context.memory.layout.slot.lowerBound, count), "another region")
        try monitored { () throws(ExecError) in try context.recv() }
      }
      var text: [UInt8] = []
      for _ in 0..<4 {
        var piece = [UInt8](repeating: 0, count: 5)
        let count = piece.withUnsafeMutableBytes { context.read(into: $0) }
        text += piece.prefix(count)
      }
      try expect(text == Array("hello, world".utf8), "it read other bytes")
      // The response is kept until it is fetched, as much of it as fits each time.
      try monitored { () throws(ExecError) in try context.write(Array("answer".utf8)) }
      name(stack.upperBound - 4, 4)
      try equal(try monitored { () throws(ExecError) in try context.flush(errno: .brokenPipe) }, 0, "bytes placed")
      try expect(Int64(bitPattern: context.a0) == -32, "the result is not -EPIPE")
      for wanted in ["answ", "er", ""] {
        try equal(try monitored { () throws(ExecError) in try context.flush(errno: nil) }, wanted.utf8.count, "bytes")
        try equal(context.a0, UInt64(wanted.utf8.count), "the result")
        let placed = context.memory.bytes(at: stack.upperBound - 4, count: wanted.utf8.count)
        try expect(Array(placed) == Array(wanted.utf8), "other bytes were placed")
      }
      context.close()
      // The last byte of memory is valid, the one after it is not.
      let end = context.memory.regions.last?.range.upperBound ?? 0
      for count in [0, 1, 8] as [UInt64] {
        name(end - count, count)
        try monitored { () throws(ExecError) in try context.recv() }
        name(end - count, count + 1)
        try refused(.outside) { () throws(ExecError) in try context.recv() }
        try refused(.outside) { () throws(ExecError) in _ = try context.transferRegion() }
        try refused(.outside) { () throws(ExecError) in try context.flush(errno: nil) }
      }
      for (address, count) in [(.max, 1), (end - 1, .max), (0, 1)] as [(UInt64, UInt64)] {
        name(address, count)
        try refused(.outside) { () throws(ExecError) in try context.recv() }
      }
      name(context.memory.layout.image.lowerBound, 4)
      try refused(.access) { () throws(ExecError) in try context.flush(errno: nil) }
    },
    Case("rpc") { (host) throws(Failure) in
      // Complete requests, in two calls, two in one call; responses in one call, or byte by byte.
      let answer = #"{"id":0,"result":"hello","error":null}"# + "\n"
      for (arguments, more) in [
        ([], ""), (["--read=1"], ""), (["--read=7"], ""), (["--split"], ""), (["--split", "--read=3"], ""),
        (["--batched"], #"{"id":1,"result":"hello","error":null}"# + "\n"),
      ] as [([String], String)] {
        for shadows in [0, 1] {
          let output = try Pipe()
          let context = try host.context("rpc-echo", arguments, output: output.writing)
          try? context.server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
          if shadows > 0 { try host.addShadows(shadows, to: context) }
          try expectRun(context)
          let text = output.contents()
          try expect(text == "rpc-echo: sending\n" + answer + more, "it printed \(text)")
        }
      }
    },
    Case("rpc-server") { (host) throws(Failure) in
      // Methods by name, with arguments and results of their types; an error reaches the caller.
      for (register, wanted) in [
        (
          { (server: Server) in try? server.register("RPC.Echo") { (text: String) throws(RPCError) -> Int64 in 42 } },
          #"{"id":0,"result":42,"error":null}"#
        ),
        (
          { try? $0.register("RPC.Echo") { (_: String) throws(RPCError) -> Bool in throw RPCError("no \"echo\"") } },
          #"{"id":0,"result":null,"error":"no \"echo\""}"#
        ),
        (
          { try? $0.register("RPC.Echo") { (number: Int64) throws(RPCError) -> Int64 in number } },
          #"{"id":0,"result":null,"error":"json: cannot unmarshal string into Go value of type int64"}"#
        ),
        (
          { try? $0.register("RPC.Other") { (text: String) throws(RPCError) -> String in text } },
          #"{"id":0,"result":null,"error":"rpc: can't find method RPC.Echo"}"#
        ),
        ({ _ in }, #"{"id":0,"result":null,"error":"rpc: can't find service RPC.Echo"}"#),
      ] as [((Server) -> Void, String)] {
        let output = try Pipe()
        let context = try host.context("rpc-echo", output: output.writing)
        register(context.server)
        try expectRun(context)
        let text = output.contents()
        try expect(text == "rpc-echo: sending\n" + wanted + "\n", "it printed \(text)")
      }
    },
    Case("memory") { (host) throws(Failure) in
      // Read and written by guest address, also below its main memory.
      let context = try host.context("obey")
      let page = try host.sharedMemory(hostPage)
      let place: UInt64 = 0x7000_0000
      try changed { () throws(RegionError) in try context.addRegion(at: place, page, access: [.read, .write]) }
      try monitored { () throws(ExecError) in try context.writeMemory(at: place + 8, [1, 2, 3, 4, 5, 6, 7, 8]) }
      var found: UInt64 = 0
      context.handler = orders([(1, place + 8), (8, place + 8)]) { at, result in if at == 0 { found = result } }
      try expectRun(context)
      try equal(found, 0x0807_0605_0403_0201, "what it loaded")
      let bytes = try monitored { () throws(ExecError) in try context.readMemory(at: place + 8, count: 8) }
      try expect(bytes == [2, 2, 3, 4, 5, 6, 7, 8], "what it stored is \(bytes)")
      let frame = context.memory.layout.frame
      try refused(.outside) { () throws(ExecError) in _ = try context.readMemory(at: frame, count: 8) }
      try refused(.outside) { () throws(ExecError) in try context.writeMemory(at: frame, [1]) }
      let text = context.memory.layout.image.lowerBound
      try refused(.access) { () throws(ExecError) in _ = try context.readMemory(at: text, count: 8, for: .write) }
    },
    Case("poke") { (host) throws(Failure) in
      // All copies read what the monitor writes.
      for shadows in [0, 2] {
        let context = try host.context("obey")
        if shadows > 0 { try host.addShadows(shadows, to: context) }
        let start = context.memory.layout.slot.lowerBound
        let place = context.memory.layout.stack.lowerBound
        try monitored { () throws(ExecError) in try context.poke(place - start, [1, 2, 3, 4, 5, 6, 7, 8]) }
        var found: UInt64 = 0
        context.handler = orders([(1, place)]) { _, result in found = result }
        try expectRun(context)
        try equal(found, 0x0807_0605_0403_0201, "what it loaded")
        for offset in [UInt64.max, context.memory.layout.shim - start, context.memory.layout.slot.upperBound - start] {
          try refused(.outside) { () throws(ExecError) in try context.poke(offset, [1]) }
        }
      }
    },
  ]
}

private func refused(_ wanted: ExecError.Problem, _ body: () throws(ExecError) -> Void) throws(Failure) {
  do { try body() } catch {
    guard case .badRange(_, _, _, wanted) = error else { throw Failure(error.description) }
    return
  }
  throw Failure("not refused")
}

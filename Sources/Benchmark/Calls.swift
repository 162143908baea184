import Applet
import AppletABI
import CFloor
import CLinux
import Control
import JSON
import KVM
import Machine
import Monitor
import Platform
import Supervisor

extension Benchmark {
  static let call = Benchmark(
    name: "call", summary: "secure call: what asks for the time, from handler to handler", runs: 1000
  ) { setting throws(BenchmarkError) in
    [Measurement("call", try setting.times(nil), floor: try setting.floor(FLOOR_EXIT_CALL, FLOOR_NOTHING))]
  }

  static let callByStore = Benchmark(
    name: "call-mmio", summary: "the same by the MMIO doorbell, as on kernels before Linux 6.4", runs: 1000,
    isFor: { $0 == .arm64 }
  ) { setting throws(BenchmarkError) in
    [Measurement("call-mmio", try setting.times(.mmio), floor: try setting.floor(FLOOR_EXIT_STORE, FLOOR_NOTHING))]
  }

  static let copy = Benchmark(
    name: "copy", summary: "call that copies so many bytes out of the guest, and as many back", runs: 300
  ) { setting throws(BenchmarkError) in
    var found: [Measurement] = []
    for size in [1, 64, 1 << 10, 4 << 10, 16 << 10, 64 << 10] {
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
      defer { buffer.deallocate() }
      let samples = try setting.record(FLOOR_GUEST_REPEAT) { context in
        context.setArguments(0, context.free, UInt64(size))
      } answer: { context throws(ExecError) in
        try context.withBuffer(at: context.a1, count: context.a2, for: .read) { buffer.copyMemory(from: .init($0)) }
        try context.withBuffer(at: context.a1, count: context.a2, for: .write) { $0.copyMemory(from: .init(buffer)) }
      }
      let floor = try setting.floor(FLOOR_EXIT_CALL, FLOOR_COPY, bytes: size)
      found.append(Measurement("copy-\(size)", samples, floor: floor, moved: size * 2))
    }
    return found
  }

  static let getrandom = Benchmark(
    name: "getrandom", summary: "call that fetches so many random bytes", runs: 300
  ) { setting throws(BenchmarkError) in
    var found: [Measurement] = []
    for size in [16, 4 << 10] {
      let samples = try setting.record(FLOOR_GUEST_REPEAT) { context in
        context.setArguments(UInt64(APPLET_CALL_GETRANDOM), context.free, UInt64(size))
      } answer: { context throws(ExecError) in
        try secureHandler(context)
      }
      let floor = try setting.floor(FLOOR_EXIT_CALL, FLOOR_RANDOM, bytes: size)
      found.append(Measurement("getrandom-\(size)", samples, floor: floor, moved: size))
    }
    return found
  }

  static let console = Benchmark(
    name: "console", summary: "call that writes a line of so many bytes, which end in /dev/null", runs: 300
  ) { setting throws(BenchmarkError) in
    let null = try openNull(setting.kernel)
    var options = ExecCtx.Options()
    options.output = null.number
    var found: [Measurement] = []
    for size in [64, 4 << 10] {
      let samples = try setting.record(FLOOR_GUEST_REPEAT, options) { context in
        context.memory.bytes(at: context.free, count: size)[size - 1] = 0x0a
        context.setArguments(UInt64(APPLET_CALL_WRITE), context.free, UInt64(size))
      } answer: { context throws(ExecError) in
        try secureHandler(context)
      }
      let floor = try setting.floor(FLOOR_EXIT_CALL, FLOOR_WRITE, bytes: size, file: null.number)
      found.append(Measurement("console-\(size)", samples, floor: floor, moved: size))
    }
    return found
  }

  static let rpc = Benchmark(
    name: "rpc", summary: "RPC echo, request and response; the floor is two calls that copy as many bytes", runs: 300
  ) { setting throws(BenchmarkError) in
    let request = Array("{\"method\":\"RPC.Echo\",\"params\":[\"hello\"],\"id\":0}\n".utf8)
    let samples = try setting.ask(request) { server in
      server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
    }
    let floor = try setting.floor(FLOOR_EXIT_CALL, FLOOR_ECHO, bytes: request.count)
    // Whether the C library makes and unmakes a mapping for each response is up to what was allocated before.
    return [Measurement("rpc", samples, floor: floor, tolerance: 60)]
  }

  static let forwardedRPC = Benchmark(
    name: "rpc-forwarded", summary: "RPC echo by a program behind a socket; the floor sends it as many bytes itself",
    runs: 300
  ) { setting throws(BenchmarkError) in
    func request(_ id: Int) -> [UInt8] {
      Array("{\"method\":\"Peer.Echo\",\"params\":[\"hello\"],\"id\":\(id)}\n".utf8)
    }
    let folder = try TemporaryFolder()
    let peer = try EchoPeer(folder.path + "/peer")
    guard let address = ServiceAddress(name: "Peer", address: "unix:" + peer.path) else { throw .host(.invalid) }
    let samples: Samples
    do {
      let service = RemoteService(address) { false }
      samples = try setting.ask(request(0)) { server in
        server.forward("Peer") { (method: String, parameter: JSONValue) throws(RPCError) -> JSONValue in
          try service.call(method, parameter)
        }
      }
    }
    // The peer serves one client after the other, and the first is gone.
    let connection = try checkHost(linux_connect(peer.path, true))
    let socket = OwnedFD(adopting: Int32(truncatingIfNeeded: connection), kernel: setting.kernel)
    var marks = [Int64](repeating: 0, count: setting.marks)
    let bytes = request(100)
    try checkFloor(floor_forward(socket.number, bytes, bytes.count, &marks, marks.count - 1))
    let floor = Samples(marks: marks, skip: Setting.warmUp)
    return [Measurement("rpc-forwarded", samples, floor: floor, tolerance: 60)]
  }

  static let lockstep = Benchmark(
    name: "lockstep", summary: "secure call with so many shadows; the floor is as many machines' exits", runs: 500
  ) { setting throws(BenchmarkError) in
    var found: [Measurement] = []
    for shadows in 1...2 {
      let samples = try setting.times(nil, shadows: shadows)
      var marks = [Int64](repeating: 0, count: setting.marks)
      try checkFloor(floor_copies(Int32(shadows + 1), &marks, marks.count - 1))
      found.append(Measurement("lockstep-\(shadows)", samples, floor: Samples(marks: marks, skip: Setting.warmUp)))
    }
    return found
  }
}

extension Setting {
  /// Marks that as many samples take, those that are not counted included.
  var marks: Int { runs + Self.warmUp + 1 }

  /// Times between calls of a guest that asks for the time again and again: all of the run path, and nothing beside it.
  func times(_ transport: ExecCtx.Transport?, shadows: Int = 0) throws(BenchmarkError) -> Samples {
    let system = try openSystem()
    var options = ExecCtx.Options()
    options.transport = transport
    let context = try makeContext(FLOOR_GUEST_TIMES, system, options)
    context.setArguments(UInt64(marks), context.free, .max)
    if shadows > 0 {
      do throws(KVMError) {
        var copies: [ExecCtx] = []
        for _ in 0..<shadows { copies.append(try context.clone(on: system)) }
        try context.setShadows(copies)
      } catch { throw .kvm(error) }
    }
    try context.finish()
    return Samples(marks: context.numbers(at: context.free, count: marks), skip: Self.warmUp)
  }

  /// Times between answers to a guest that makes the same calls again and again.
  /// - Parameters:
  ///   - calls: how many of its calls make a sample.
  ///   - prepare: sets its arguments.
  ///   - answer: handles a call.
  func record(
    _ guest: floor_guest, _ options: ExecCtx.Options = .init(), calls: Int = 1, prepare: (ExecCtx) -> Void,
    answer: @escaping ExecCtx.Handler
  ) throws(BenchmarkError) -> Samples {
    let system = try openSystem()
    let context = try makeContext(guest, system, options)
    prepare(context)
    let recorder = Recorder(count: marks - 1)
    var made = 0
    context.handler = { context throws(ExecError) in
      try answer(context)
      made += 1
      if made % calls == 0, recorder.mark() { context.exit(status: 0) }
    }
    try context.finish()
    context.handler = nil
    return Samples(marks: recorder.marks, skip: Self.warmUp)
  }

  /// Times between responses to a guest that sends the same RPC request again and again.
  /// - Parameter offer: registers what it asks for.
  fileprivate func ask(_ request: [UInt8], offer: (Server) -> Void) throws(BenchmarkError) -> Samples {
    try record(FLOOR_GUEST_RPC, calls: 2) { context in
      offer(context.server)
      context.memory.bytes(at: context.free, count: request.count).copyBytes(from: request)
      context.setArguments(context.free, UInt64(request.count), context.free + 4096, 256)
    } answer: { context throws(ExecError) in
      try secureHandler(context)
    }
  }

  /// The same by the floor.
  func floor(_ exit: floor_exit, _ work: floor_work, bytes: Int = 0, file: Int32 = -1) throws(BenchmarkError) -> Samples
  {
    var marks = [Int64](repeating: 0, count: marks)
    try checkFloor(floor_calls(exit, work, bytes, file, &marks, marks.count - 1))
    return Samples(marks: marks, skip: Self.warmUp)
  }
}

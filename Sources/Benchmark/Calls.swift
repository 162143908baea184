import Applet
import AppletABI
import CBaseline
import CLinux
import Control
import JSON
import KVM
import Launch
import Machine
import Monitor
import Platform
import Supervisor

extension Benchmark {
  static let call = Benchmark(
    name: "call", summary: "secure call that gets the time, from handler to handler", runs: 1000
  ) { setting throws(BenchmarkError) in
    [Measurement("call", try setting.times(nil), baseline: try setting.baseline(BASELINE_EXIT_CALL, BASELINE_NOTHING))]
  }

  static let callByStore = Benchmark(
    name: "call-mmio", summary: "the same with the MMIO transport, as on kernels before Linux 6.4", runs: 1000,
    isFor: { $0.facts.usesSMCCC }
  ) { setting throws(BenchmarkError) in
    [
      Measurement(
        "call-mmio", try setting.times(.mmio), baseline: try setting.baseline(BASELINE_EXIT_STORE, BASELINE_NOTHING))
    ]
  }

  static let copy = Benchmark(
    name: "copy", summary: "call that copies N bytes from the guest and back", runs: 300
  ) { setting throws(BenchmarkError) in
    var found: [Measurement] = []
    for size in [1, 64, 1 << 10, 4 << 10, 16 << 10, 64 << 10] {
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 16)
      defer { buffer.deallocate() }
      let samples = try setting.record(BASELINE_GUEST_REPEAT) { context in
        context.setArguments(0, context.free, UInt64(size))
      } answer: { context throws(ExecError) in
        try context.withBuffer(at: context.a1, count: context.a2, for: .read) { buffer.copyMemory(from: .init($0)) }
        try context.withBuffer(at: context.a1, count: context.a2, for: .write) { $0.copyMemory(from: .init(buffer)) }
      }
      let baseline = try setting.baseline(BASELINE_EXIT_CALL, BASELINE_COPY, bytes: size)
      found.append(Measurement("copy-\(size)", samples, baseline: baseline, moved: size * 2))
    }
    return found
  }

  static let getrandom = Benchmark(
    name: "getrandom", summary: "call that gets N random bytes", runs: 300
  ) { setting throws(BenchmarkError) in
    var found: [Measurement] = []
    for size in [16, 4 << 10] {
      let samples = try setting.record(BASELINE_GUEST_REPEAT) { context in
        context.setArguments(UInt64(APPLET_CALL_GETRANDOM), context.free, UInt64(size))
      } answer: { context throws(ExecError) in
        try secureHandler(context)
      }
      let baseline = try setting.baseline(BASELINE_EXIT_CALL, BASELINE_RANDOM, bytes: size)
      found.append(Measurement("getrandom-\(size)", samples, baseline: baseline, moved: size))
    }
    return found
  }

  static let console = Benchmark(
    name: "console", summary: "call that writes a line of N bytes to /dev/null", runs: 300
  ) { setting throws(BenchmarkError) in
    let null = try openNull(setting.kernel)
    var request = GuestRequest()
    request.output = null.number
    var found: [Measurement] = []
    for size in [64, 4 << 10] {
      let samples = try setting.record(BASELINE_GUEST_REPEAT, request) { context in
        context.memory.bytes(at: context.free, count: size)[size - 1] = 0x0a
        context.setArguments(UInt64(APPLET_CALL_WRITE), context.free, UInt64(size))
      } answer: { context throws(ExecError) in
        try secureHandler(context)
      }
      let baseline = try setting.baseline(BASELINE_EXIT_CALL, BASELINE_WRITE, bytes: size, file: null.number)
      found.append(Measurement("console-\(size)", samples, baseline: baseline, moved: size))
    }
    return found
  }

  static let rpc = Benchmark(
    name: "rpc", summary: "RPC echo; the baseline is two calls that copy as many bytes", runs: 300
  ) { setting throws(BenchmarkError) in
    let request = Array("{\"method\":\"RPC.Echo\",\"params\":[\"hello\"],\"id\":0}\n".utf8)
    let samples = try setting.ask(request) { server throws(RPCError) in
      try server.register("RPC.Echo") { (text: String) throws(RPCError) -> String in text }
    }
    let baseline = try setting.baseline(BASELINE_EXIT_CALL, BASELINE_ECHO, bytes: request.count)
    // Whether the C library maps and unmaps memory for each response depends on earlier allocations.
    return [Measurement("rpc", samples, baseline: baseline, tolerance: 60)]
  }

  static let forwardedRPC = Benchmark(
    name: "rpc-forwarded", summary: "RPC echo by a program through a socket; the baseline sends as many bytes",
    runs: 300
  ) { setting throws(BenchmarkError) in
    func request(_ id: Int) -> [UInt8] {
      Array("{\"method\":\"Peer.Echo\",\"params\":[\"hello\"],\"id\":\(id)}\n".utf8)
    }
    let directory = try TemporaryDirectory()
    let peer = try EchoPeer(directory.path + "/peer")
    guard let address = ServiceAddress(name: "Peer", address: "unix:" + peer.path) else { throw .host(.invalid) }
    let samples: Samples
    do {
      let service = RemoteService(address) { false }
      samples = try setting.ask(request(0)) { server throws(RPCError) in
        try server.forward("Peer") { (method: String, parameter: JSONValue) throws(RPCError) -> JSONValue in
          try service.call(method, parameter)
        }
      }
    }
    // The peer serves one client at a time, and the first has disconnected.
    let connection = try checkHost(linux_connect(peer.path, true))
    let socket = OwnedFD(adopting: Int32(truncatingIfNeeded: connection), kernel: setting.kernel)
    var marks = [Int64](repeating: 0, count: setting.marks)
    let bytes = request(100)
    try checkBaseline(baseline_forward(socket.number, bytes, bytes.count, &marks, marks.count - 1))
    let baseline = Samples(marks: marks, skip: Setting.warmUp)
    return [Measurement("rpc-forwarded", samples, baseline: baseline, tolerance: 60)]
  }

  static let lockstep = Benchmark(
    name: "lockstep", summary: "secure call with N shadows; the baseline is the exits of as many VMs", runs: 500
  ) { setting throws(BenchmarkError) in
    var found: [Measurement] = []
    for shadows in 1...2 {
      let samples = try setting.times(nil, shadows: shadows)
      var marks = [Int64](repeating: 0, count: setting.marks)
      try checkBaseline(baseline_copies(Int32(shadows + 1), &marks, marks.count - 1))
      found.append(Measurement("lockstep-\(shadows)", samples, baseline: Samples(marks: marks, skip: Setting.warmUp)))
    }
    return found
  }
}

extension Setting {
  /// Number of marks for the samples, including those of the warm-up.
  var marks: Int { runs + Self.warmUp + 1 }

  /// Times between calls of a guest that gets the time in a loop: the run path and nothing else.
  func times(_ transport: ExecCtx.Transport?, shadows: Int = 0) throws(BenchmarkError) -> Samples {
    let system = try openSystem()
    var request = GuestRequest()
    request.transport = transport
    let context = try makeContext(BASELINE_GUEST_TIMES, system, request)
    context.setArguments(UInt64(marks), context.free, .max)
    if shadows > 0 {
      // Now that they have the arguments to copy.
      var copies: [ExecCtx] = []
      do { for _ in 0..<shadows { copies.append(try context.clone(on: system)) } } catch { throw .kvm(error) }
      do { try context.setShadows(copies) } catch { throw .lockstep(error) }
    }
    try context.finish()
    return Samples(marks: context.numbers(at: context.free, count: marks), skip: Self.warmUp)
  }

  /// Times between answers to a guest that makes the same calls in a loop.
  /// - Parameters:
  ///   - calls: number of calls for a sample.
  ///   - prepare: sets its arguments.
  ///   - answer: handles a call.
  func record(
    _ guest: baseline_guest, _ request: GuestRequest = GuestRequest(), calls: Int = 1, prepare: (ExecCtx) -> Void,
    answer: @escaping ExecCtx.Handler
  ) throws(BenchmarkError) -> Samples {
    let system = try openSystem()
    let context = try makeContext(guest, system, request)
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
  fileprivate func ask(_ request: [UInt8], offer: (Server) throws(RPCError) -> Void) throws(BenchmarkError) -> Samples {
    let server = Server()
    do { try offer(server) } catch { throw .service(error) }
    return try record(BASELINE_GUEST_RPC, calls: 2) { context in
      context.server = server
      context.memory.bytes(at: context.free, count: request.count).copyBytes(from: request)
      context.setArguments(context.free, UInt64(request.count), context.free + 4096, 256)
    } answer: { context throws(ExecError) in
      try secureHandler(context)
    }
  }

  /// The same for the baseline.
  func baseline(_ exit: baseline_exit, _ work: baseline_work, bytes: Int = 0, file: Int32 = -1) throws(BenchmarkError)
    -> Samples
  {
    var marks = [Int64](repeating: 0, count: marks)
    try checkBaseline(baseline_calls(exit, work, bytes, file, &marks, marks.count - 1))
    return Samples(marks: marks, skip: Self.warmUp)
  }
}

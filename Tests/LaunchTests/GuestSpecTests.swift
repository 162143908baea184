import Machine
import Monitor
import Testing

@testable import Launch

@Suite("A guest's description")
struct GuestSpecTests {
  private func error(_ change: (inout GuestRequest) -> Void) -> SpecError? {
    var request = GuestRequest()
    change(&request)
    do throws(SpecError) { _ = try GuestSpec(request) } catch { return error }
    return nil
  }

  @Test("is an applet with 16 MiB by default")
  func defaults() throws {
    let spec = try GuestSpec(GuestRequest())
    #expect(spec == GuestSpec())
    #expect(spec.mode == .applet(copies: nil) && spec.memory == 16 << 20 && spec.limits == GuestLimits())
    #expect(!spec.isSeveral && spec.cpus == 1 && spec.descriptorLimit == 66)
  }

  @Test("has values within their ranges")
  func ranges() {
    #expect(error { $0.memory = 64 << 30 } == nil)
    #expect(error { $0.memory = 64 << 30 + 1 } == .outOfRange(.memory, .applet))
    #expect(error { $0.memory = 128 << 10 } == nil)
    #expect(error { $0.memory = 128 << 10 - 1 } == .outOfRange(.memory, .applet))
    #expect(error { ($0.kernel, $0.memory) = ("k", 512 << 30) } == nil)
    #expect(error { ($0.kernel, $0.memory) = ("k", 64 << 20 - 1) } == .outOfRange(.memory, .linux))
    #expect(error { ($0.isSecure, $0.cpus) = (false, 512) } == nil)
    #expect(error { ($0.isSecure, $0.cpus) = (false, .max) } == .outOfRange(.cpus, .program))
    #expect(error { $0.copies = 0 } == .outOfRange(.copies, .applet))
    #expect(error { $0.limits.deadline = 0 } == .outOfRange(.deadline, .applet))
    #expect(error { $0.limits.callBudget = -1 } == .outOfRange(.callBudget, .applet))
    #expect(error { $0.limits.cpuBudget = .max } == .outOfRange(.cpuBudget, .applet))
    #expect(error { $0.limits.threads = 10_001 } == .outOfRange(.threads, .applet))
  }

  @Test("has only the settings of its kind of guest")
  func combinations() {
    #expect(error { $0.cpus = 2 } == .unsuited(.cpus, .applet))
    #expect(error { $0.peer = "p" } == .unsuited(.peer, .applet))
    #expect(error { $0.initrd = "i" } == .unsuited(.initrd, .applet))
    #expect(error { ($0.isSecure, $0.copies) = (false, 1) } == .unsuited(.copies, .program))
    #expect(error { ($0.isSecure, $0.transport) = (false, .mmio) } == .unsuited(.transport, .program))
    #expect(error { ($0.isSecure, $0.transport) = (false, .hvc) } == nil)
    #expect(error { ($0.isSecure, $0.layout) = (false, .contiguous) } == .unsuited(.layout, .program))
    #expect(error { ($0.isSecure, $0.hasCLINT) = (false, true) } == .unsuited(.clint, .program))
    #expect(error { ($0.isSecure, $0.hasCLINT, $0.peer) = (false, true, "p") } == nil)
    #expect(error { ($0.isSecure, $0.layout, $0.peer) = (false, .contiguous, "p") } == nil)
    #expect(error { ($0.kernel, $0.layout) = ("k", .compact) } == .unsuited(.layout, .linux))
    #expect(error { ($0.isSecure, $0.faultPercent) = (false, 1) } == .needsCopies(.faults))
    #expect(error { $0.isParallel = true } == .needsCopies(.parallel))
    #expect(error { $0.faultPercent = 0 } == nil)
    #expect(error { ($0.kernel, $0.isSecure) = ("k", false) } == .unsuited(.nonSecure, .linux))
    #expect(error { ($0.kernel, $0.limits.cpuBudget) = ("k", 1) } == .unsuited(.cpuBudget, .linux))
    #expect(error { ($0.kernel, $0.peer) = ("k", "p") } == nil)
    let disk = LinuxOptions.Disk(path: "d", isReadOnly: false)
    #expect(
      error { ($0.kernel, $0.disks) = ("k", Array(repeating: disk, count: LinuxOptions.maxDisks + 1)) }
        == .tooMany(.disks, max: LinuxOptions.maxDisks))
    #expect(
      error { ($0.kernel, $0.kernelArguments) = ("k", [String(repeating: "x", count: 1024)]) }
        == .kernelArgumentsTooLong(max: 1023))
  }

  @Test("that is rejected names the setting and its range")
  func descriptions() {
    #expect(
      SpecError.outOfRange(.memory, .linux).description(value: "1M")
        == "--memory '1M' is out of range: give 64M to 512G"
    )
    #expect(
      SpecError.outOfRange(.processMemory, .applet).description(value: "1")
        == "--process-memory '1' is out of range: give 1M to 32T")
    #expect(SpecError.unsuited(.ports, .program).description(value: "") == "--port needs --linux")
  }

  @Test("keeps other limits when some are changed")
  func limits() {
    var spec = GuestSpec()
    var limits = GuestLimits()
    (limits.deadline, limits.threads) = (5, 7)
    spec.change(limits)
    var others = GuestLimits()
    others.deadline = 9
    spec.change(others)
    #expect(spec.limits.deadline == 9 && spec.limits.threads == 7 && spec.limits.cpuBudget == nil)
  }

  @Test("of an end has one exit status for each kind of failure")
  func exitCodes() {
    #expect(RunEnd(.exited(status: 7)).code == 7 && RunEnd(.exited(status: 7)).status == 7)
    #expect(RunEnd(Outcome.stopped).code == 125 && RunEnd(Outcome.stopped).isStopped)
    // An applet's own status, whatever its number, is not Swiftlet's.
    for status in 0...255 as ClosedRange<UInt8> {
      let end = RunEnd(exited: status)
      #expect(end.code == Int32(status) && end.status == status && !end.isStopped && end.isFailure == (status != 0))
      let isSaid = (120...127).contains(status) || status == 133
      #expect(end.reason == "exited \(isSaid ? "by itself " : "")with status \(status)")
    }
    #expect(RunEnd(.shutdown).code == 0 && !RunEnd(.shutdown).isFailure)
    #expect(RunEnd(.reset).code == 133 && RunEnd(.reset).isFailure)
    #expect(RunEnd(.limit(.deadline)).code == 124)
    #expect(RunEnd(.badRequest).code == 121 && RunEnd(.shim).code == 121)
  }
}

import CLinux
import Foundation
import Machine
import Testing

@testable import Launch

/// A system call, as a seccomp filter gets it: struct seccomp_data.
private struct Call {
  let architecture: UInt32
  let number: UInt32
  var arguments: [UInt64] = [0, 0, 0, 0, 0, 0]

  func word(at offset: UInt32) -> UInt32 {
    switch offset {
    case 0: number
    case 4: architecture
    case 16..<64: UInt32(truncatingIfNeeded: arguments[Int(offset - 16) / 8] >> (offset % 8 == 4 ? 32 : 0))
    default: 0
    }
  }
}

/// The result of a filter: an interpreter of the subset of classic BPF that filters use (linux/bpf_common.h).
private func answer(_ program: sock_fprog, to call: Call) -> UInt32? {
  var accumulator: UInt32 = 0
  var at = 0
  while at < Int(program.len) {
    let instruction = program.filter[at]
    at += 1
    switch instruction.code {
    case 0x20: accumulator = call.word(at: instruction.k)
    case 0x54: accumulator &= instruction.k
    case 0x05: at += Int(instruction.k)
    case 0x15: at += Int(accumulator == instruction.k ? instruction.jt : instruction.jf)
    case 0x25: at += Int(accumulator > instruction.k ? instruction.jt : instruction.jf)
    case 0x35: at += Int(accumulator >= instruction.k ? instruction.jt : instruction.jf)
    case 0x06: return instruction.k
    default: return nil
    }
  }
  return nil
}

private let allow: UInt32 = 0x7fff_0000
private let kill: UInt32 = 0x8000_0000
private func refuse(_ errno: Int32) -> UInt32 { 0x0005_0000 | UInt32(errno) }

// Both architectures have the generic numbers (asm-generic/unistd.h).
private let ioctl: UInt32 = 29
private let unlinkat: UInt32 = 35
private let openat: UInt32 = 56
private let write: UInt32 = 64
private let tgkill: UInt32 = 131
private let sendto: UInt32 = 206
private let sendmsg: UInt32 = 211
private let recvmsg: UInt32 = 212
private let clone: UInt32 = 220
private let execve: UInt32 = 221
private let mmap: UInt32 = 222
private let clone3: UInt32 = 435

@Suite("The sandbox's system call filters")
struct FilterTests {
  private func check(
    _ architecture: Architecture, _ content: Sandbox.Content, _ number: UInt32, _ arguments: [UInt64] = [],
    expect: UInt32, _ location: SourceLocation = #_sourceLocation
  ) {
    var call = Call(architecture: architecture.facts.auditNumber, number: number)
    for (index, argument) in arguments.enumerated() { call.arguments[index] = argument }
    let got = answer(linux_filter(architecture.facts.auditNumber, content.filter).program, to: call)
    #expect(got == expect, "call \(number) \(arguments) on \(architecture.name)", sourceLocation: location)
  }

  @Test(
    "allow the system calls of the run path only", arguments: [Architecture.arm64, .riscv64],
    [
      Sandbox.Content.guest(several: false), .guest(several: true), .worker(several: false), .worker(several: true),
      .linux(services: false), .linux(services: true),
    ])
  func runPath(architecture: Architecture, content: Sandbox.Content) {
    check(architecture, content, ioctl, [5, 0xae80], expect: allow)
    // Equal for the kernel, which uses only the low half.
    check(architecture, content, ioctl, [5, 0x1_0000_ae80], expect: allow)
    check(architecture, content, 5000, [5, 0xae80], expect: kill)
    check(architecture, content, write, [1], expect: allow)
    check(architecture, content, mmap, [0, 4096, 3], expect: allow)
    // KVM_CREATE_VM, TIOCSTI, another request with bits that the kernel ignores, executable memory, another program.
    check(architecture, content, ioctl, [5, 0xae01], expect: kill)
    check(architecture, content, ioctl, [0, 0x5412], expect: kill)
    check(architecture, content, ioctl, [5, 0x1_4010_aeab], expect: kill)
    // KVM_GET_STATS_FD, for figures that clients of the daemon ask for.
    let isWorker = if case .worker = content { true } else { false }
    check(architecture, content, ioctl, [5, 0xaece], expect: isWorker ? allow : kill)
    check(architecture, content, mmap, [0, 4096, 5], expect: kill)
    check(architecture, content, execve, expect: kill)
    check(architecture, content, 5000, expect: kill)
    // riscv_flush_icache, which arm64 does not have: makes code that a handler writes to guest memory visible to
    // fetches.
    check(architecture, content, 259, expect: architecture == .riscv64 ? allow : kill)
  }

  @Test("allow threads, but not processes, only for several copies", arguments: [Architecture.arm64, .riscv64])
  func threads(architecture: Architecture) {
    let thread: UInt64 = 0x7d_0f00
    check(architecture, .guest(several: false), clone, [thread], expect: kill)
    check(architecture, .guest(several: true), clone, [thread], expect: allow)
    check(architecture, .guest(several: true), clone, [UInt64(SIGCHLD)], expect: kill)
    check(architecture, .guest(several: true), clone3, expect: refuse(ENOSYS))
    check(architecture, .guest(several: false), openat, expect: refuse(EACCES))
    check(architecture, .guest(several: true), openat, expect: refuse(EACCES))
  }

  @Test(
    "allow the system calls of devices only for Linux", arguments: [Architecture.arm64, .riscv64])
  func linux(architecture: Architecture) {
    let thread: UInt64 = 0x7d_0f00
    check(architecture, .linux(services: false), clone, [thread], expect: allow)
    check(architecture, .linux(services: false), clone, [UInt64(SIGCHLD)], expect: kill)
    check(architecture, .linux(services: false), unlinkat, expect: refuse(EACCES))
    // KVM_IRQ_LINE, KVM_INTERRUPT, TCSETS, TIOCGWINSZ; data without an address.
    let calls: [(UInt32, [UInt64])] =
      [0x4008_ae61, 0x4004_ae86, 0x5402, 0x5413].map { (ioctl, [0, $0]) } + [(sendto, [3, 0, 1, 0x4040, 0, 0])]
    for (number, arguments) in calls {
      check(architecture, .linux(services: false), number, arguments, expect: allow)
      check(architecture, .guest(several: true), number, arguments, expect: kill)
    }
    // Messages of services, only where there are any.
    for number in [sendmsg, recvmsg] {
      check(architecture, .linux(services: true), number, [3, 0x1000, 0], expect: allow)
      check(architecture, .linux(services: false), number, [3, 0x1000, 0], expect: kill)
    }
    // An address; KVM_CREATE_DEVICE, KVM_IOEVENTFD, KVM_SET_USER_MEMORY_REGION.
    check(architecture, .linux(services: false), sendto, [3, 0, 1, 0x4040, 0x1000, 16], expect: kill)
    for request: UInt64 in [0xc00c_aee0, 0x4040_ae79, 0x4020_ae46] {
      check(architecture, .linux(services: false), ioctl, [3, request], expect: kill)
    }
  }

  @Test(
    "allow a process to signal only itself, by its ID at installation",
    arguments: [Architecture.arm64, .riscv64])
  func ownProcess(architecture: Architecture) throws {
    for content in [Sandbox.Content.guest(several: true), .worker(several: true), .linux(services: true)] {
      let filter = linux_filter(architecture.facts.auditNumber, content.filter)
      let instructions = UnsafeBufferPointer(start: filter.program.filter, count: Int(filter.program.len))
      #expect(instructions[Int(filter.own)].k == 0x7fff_ffff)
      #expect(instructions.count { $0.k == 0x7fff_ffff } == 1)
      check(architecture, content, tgkill, [1, 1, 9], expect: kill)
      check(architecture, content, tgkill, [0x7fff_ffff, 1, 9], expect: allow)
    }
    for content in [Sandbox.Content.guest(several: false), .worker(several: false)] {
      #expect(linux_filter(architecture.facts.auditNumber, content.filter).own == 0)
    }
  }

  @Test("reject system calls of another architecture", arguments: [Architecture.arm64, .riscv64])
  func foreign(architecture: Architecture) {
    let other: Architecture = architecture == .arm64 ? .riscv64 : .arm64
    for content in [Sandbox.Content.worker(several: false), .worker(several: true), .linux(services: true)] {
      let filter = linux_filter(architecture.facts.auditNumber, content.filter).program
      #expect(answer(filter, to: Call(architecture: other.facts.auditNumber, number: write)) == kill)
      var run = Call(architecture: other.facts.auditNumber, number: ioctl)
      run.arguments[1] = 0xae80
      #expect(answer(filter, to: run) == kill)
    }
    #expect(linux_filter(0xc000_003e, LINUX_FILTER_ONE).program.len == 0)
  }

  @Test(
    "begin by loading an argument, which speeds up their installation",
    arguments: [Architecture.arm64, .riscv64])
  func startsWithArgument(architecture: Architecture) {
    let filter = linux_filter(architecture.facts.auditNumber, LINUX_FILTER_ONE).program
    #expect(filter.filter[0].code == 0x20)
    #expect(filter.filter[0].k >= 16)
  }

  @Test("match tools/seccomp/calls, and so does the documentation")
  func generated() throws {
    let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let process = Process()
    process.executableURL = repository.appending(path: "tools/seccomp-filters")
    process.arguments = ["--check"]
    try process.run()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "run tools/seccomp-filters")
  }
}

import KVM
import Machine
import Platform

/// The CPUs of a guest: starts them on threads, ends their run and joins them.
///
/// With one CPU there is no thread but the caller's.
final class CPUSet: Sendable {
  /// CPU 0. It runs on the thread that calls `run`, and handles stops and limits.
  let first: CPU
  /// CPU 1 and up.
  private let rest: [CPU]
  let control: RunControl
  /// Held while CPUs are kept out of the guest (`withOthersOut`); nil with one CPU.
  private let entryLock: Lock?
  /// The number of a register that every vCPU has.
  private let programCounter: UInt64

  /// Creates the vCPUs of a VM.
  /// - Parameters:
  ///   - count: at least 1; less counts as 1.
  ///   - stopEndsRun: whether a stop ends the run at once, without a decision of CPU 0.
  init(
    of machine: borrowing VirtualMachine, count: Int = 1, stopEndsRun: Bool = false, architecture: Architecture
  ) throws(KVMError) {
    let control = RunControl(cpus: max(count, 1), stopEndsRun: stopEndsRun)
    let first = CPU(number: 0, vcpu: try machine.makeVCPU(number: 0, architecture: architecture), control: control)
    var rest: [CPU] = []
    for number in 1..<max(count, 1) {
      let vcpu = try machine.makeVCPU(number: number, architecture: architecture)
      rest.append(CPU(number: number, vcpu: vcpu, control: control))
    }
    programCounter = architecture.facts.programCounter
    entryLock = rest.isEmpty ? nil : Lock()
    self.control = control
    self.first = first
    self.rest = rest
  }

  var count: Int { rest.count + 1 }
  /// The CPU with a number below `count`.
  subscript(number: Int) -> CPU { number == 0 ? first : rest[number - 1] }

  /// Runs every CPU: CPU 0 on the calling thread, which has called `entered`, the others on threads of their own.
  /// Returns when all of them have returned and their threads are joined.
  /// - Parameters:
  ///   - body: runs one CPU until the run is ending. It is called on several threads at a time.
  ///   - failed: called if a thread cannot be created; it must end the run.
  func run(_ body: (CPU) -> Void, failed: (Errno) -> Void) {
    // The function below takes the absolute path of the file for its message, and the executable would depend on the
    // directory in which it is compiled.
    #sourceLocation(file:"CPUSet",line:52)
    withoutActuallyEscaping(body) { body in
      // Every thread is joined before `body` goes out of scope, and shared state that `body` uses has locks of its own.
      nonisolated(unsafe) let body = body
      var threads: [Thread] = []
      for cpu in rest {
        do throws(Errno) {
          threads.append(
            try Thread {
              _ = cpu.entered()
              cpu.startTime()
              body(cpu)
              cpu.stopTime()
              cpu.vcpu.leave()
              cpu.control.returned(cpu.number)
            })
        } catch {
          failed(error)
          break
        }
      }
      body(first)
      control.returned(0)
      for thread in threads { thread.join() }
    }
    #sourceLocation()
  }

  /// Runs `body` while no CPU except the caller's is in the guest. The caller must hold a lock that excludes a second
  /// call.
  /// - Parameter caller: the CPU that the calling thread runs; nil if no CPU is running.
  func withOthersOut<Result, Failure: Error>(
    of caller: CPU?, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    guard let caller, let entryLock else { return try body() }
    entryLock.acquire()
    defer { entryLock.release() }
    for number in 0..<count where number != caller.number { self[number].vcpu.requestExit() }
    control.kick(allBut: caller.number)
    // KVM returns a vCPU's registers when it has left the guest. The exit request keeps it from entering again.
    for number in 0..<count where number != caller.number {
      _ = try? self[number].vcpu.register(programCounter)
    }
    return try body()
  }

  /// Waits while CPUs are kept out of the guest. A CPU must call this after it has cleared an exit request.
  func waitUntilMayEnter() { entryLock?.withLock {} }

  // MARK: CPU time

  /// Called at the start of a run, on the thread of CPU 0.
  func startTime() {
    // The time of a single thread is its clock.
    guard count > 1 else { return }
    for number in 0..<count { self[number].resetTime() }
    first.startTime()
  }

  func stopTime() { if count > 1 { first.stopTime() } }

  /// CPU time of the current run's threads, in nanoseconds. With one CPU it is all of the calling thread's CPU time.
  var time: Int64 { count > 1 ? rest.reduce(first.time) { $0 + $1.time } : Clock.threadCPU }
}

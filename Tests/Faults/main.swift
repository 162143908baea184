import CFaults
import CLinux
import Machine
import Platform
import TestSupport

// Makes each call of each path fail with each errno that it may fail with, one at a time, and looks what it comes to:
//   faults [EVERY [OFFSET [PATH]]]   every EVERYth case alone, from case OFFSET on (default: all), of paths whose names begin so
// Exit status 0 where every case ends as ever or in a typed error with that errno, with everything released.

if CommandLine.arguments.dropFirst().first == "worker" {
  exit(WorkerProcess.run(Array(CommandLine.arguments.dropFirst(2))))
}
if CommandLine.arguments.dropFirst().first == "daemon" {
  exit(DaemonProcess.run(Array(CommandLine.arguments.dropFirst(2))))
}
setvbuf_lines()
// Who starts this on a thread that takes no signals, as a test runner's, hands that down.
var noSignals = sigset_t()
sigemptyset(&noSignals)
sigprocmask(SIG_SETMASK, &noSignals, nil)
let every = CommandLine.arguments.count > 1 ? max(Int(CommandLine.arguments[1]) ?? 1, 1) : 1
let offset = CommandLine.arguments.count > 2 ? Int(CommandLine.arguments[2]) ?? 0 : 0
let prefix = CommandLine.arguments.count > 3 ? CommandLine.arguments[3] : ""
let plan = Plan(every: every, offset: offset)
let began = Clock.monotonic
print("| path | calls | cases | typed error | ended as ever |")
print("| --- | --- | --- | --- | --- |")
for path in Path.all where path.name.hasPrefix(prefix) {
  var sum = Plan.Count()
  for variant in path.variants { sum += plan.run(path, variant) }
  print("| \(path.name) | \(sum.calls) | \(sum.cases) | \(sum.errors) | \(sum.successes) |")
}
if "sandbox".hasPrefix(prefix) || prefix.isEmpty { plan.tryEntries() }
print("| all | \(plan.total.calls) | \(plan.total.cases) | \(plan.total.errors) | \(plan.total.successes) |")
print("\(plan.complaints) wrong, \((Clock.monotonic - began) / 1_000_000) ms, at the end \(Resources.now)")
exit(plan.complaints == 0 ? 0 : 1)

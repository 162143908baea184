import CFaults
import CLinux
import Machine
import Platform
import TestSupport

// Makes each call of each path fail with each of its errnos, one at a time, and checks the outcome:
//   faults [EVERY [OFFSET [PATH]]]   only every EVERYth case, from case OFFSET on (default: all), with this prefix
// Exit status 0 if each case ends normally or with a typed error with that errno, and all resources are released.

if CommandLine.arguments.dropFirst().first == "worker" {
  exit(WorkerProcess.run(Array(CommandLine.arguments.dropFirst(2))))
}
if CommandLine.arguments.dropFirst().first == "daemon" {
  exit(DaemonProcess.run(Array(CommandLine.arguments.dropFirst(2))))
}
// The first argument of a daemon that reloads. Without the search for leaks at exit, which cannot be switched off here (the daemon
// passes no environment) and fails in a process that is stopped meanwhile.
if CommandLine.arguments.dropFirst().first == "--version" { _exit(0) }
setvbuf_lines()
// Blocked signals of the calling thread, such as a test runner's, are inherited.
var noSignals = sigset_t()
sigemptyset(&noSignals)
sigprocmask(SIG_SETMASK, &noSignals, nil)
let every = CommandLine.arguments.count > 1 ? max(Int(CommandLine.arguments[1]) ?? 1, 1) : 1
let offset = CommandLine.arguments.count > 2 ? Int(CommandLine.arguments[2]) ?? 0 : 0
let prefix = CommandLine.arguments.count > 3 ? CommandLine.arguments[3] : ""
let plan = Plan(every: every, offset: offset)
let began = Clock.monotonic
print("| path | calls | cases | typed error | no error |")
print("| --- | --- | --- | --- | --- |")
for path in Path.all where path.name.hasPrefix(prefix) {
  var sum = Plan.Count()
  for variant in path.variants { sum += plan.run(path, variant) }
  print("| \(path.name) | \(sum.calls) | \(sum.cases) | \(sum.errors) | \(sum.successes) |")
}
if "sandbox".hasPrefix(prefix) || prefix.isEmpty { plan.tryEntries() }
print("| all | \(plan.total.calls) | \(plan.total.cases) | \(plan.total.errors) | \(plan.total.successes) |")
print("\(plan.standardError) wrong, \((Clock.monotonic - began) / 1_000_000) ms, at the end \(Resources.now)")
exit(plan.standardError == 0 ? 0 : 1)

import CLinux
import Monitor
import Platform

/// A behaviour of the monitor that a case tests.
struct Case {
  let name: StaticString
  let body: (Host) throws(Failure) -> Void

  init(_ name: StaticString, _ body: @escaping (Host) throws(Failure) -> Void) {
    self.name = name
    self.body = body
  }
}

var allCases: [Case] {
  entryCases + transferCases + stopCases + registerCases + limitCases + regionCases + lockstepCases + manyCases
    + faultCases + nonSecureCases
}

let usage = """
  usage: exercise [--transport hvc|mmio] GUESTS [CASE]...
         exercise --list

  Embeds the monitor as another program would, and tests each behaviour with the applets in the directory GUESTS.
  Prints a line a case, "ok CASE" or "failed CASE: why", and ends with status 1 if one failed. Without a CASE it
  shows all but those that begin with "long-".

  """

/// Writes a line to standard output.
func say(_ line: String) {
  var line = line + "\n"
  line.withUTF8 { _ = linux_write(STDOUT_FILENO, $0.baseAddress, $0.count) }
}

@main
struct Main {
  static func main() {
    var words: [String] = []
    for word in UnsafeBufferPointer(start: linux_arguments(), count: Int(linux_argument_count())).dropFirst() {
      if let word { words.append(String(cString: word)) }
    }
    var transport: ExecCtx.Transport?
    if words.first == "--transport", words.count > 1 {
      transport = words[1] == "mmio" ? .mmio : .hvc
      words.removeFirst(2)
    }
    if words == ["--list"] {
      for one in allCases { say(one.name.description) }
      return
    }
    guard let guests = words.first else {
      say(usage)
      exit(2)
    }
    let wanted = words.dropFirst()
    do throws(Failure) {
      let host = try Host(guests: guests, transport: transport)
      for name in wanted where !allCases.contains(where: { $0.name.description == name }) {
        throw Failure("no case is called \(name)")
      }
      var failures = 0
      for one in allCases {
        let name = one.name.description
        if wanted.isEmpty ? name.utf8.starts(with: "long-".utf8) : !wanted.contains(name) { continue }
        if !show(one, host) { failures += 1 }
      }
      exit(failures == 0 ? 0 : 1)
    } catch {
      say("failed: \(error.why)")
      exit(2)
    }
  }

  private static func show(_ one: Case, _ host: Host) -> Bool {
    let before = Holdings()
    let start = Clock.monotonic
    do throws(Failure) {
      try one.body(host)
      var after = Holdings()
      // A thread that was joined may still be listed for a moment.
      for _ in 0..<100 where after != before {
        sleepFor(microseconds: 1000)
        after = Holdings()
      }
      try expect(after == before, "before it: \(before.description); after it: \(after.description)")
    } catch {
      say("failed \(one.name.description): \(error.why)")
      return false
    }
    say("ok \(one.name.description) \((Clock.monotonic - start) / 1_000_000) ms")
    return true
  }
}

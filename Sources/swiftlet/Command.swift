/// Swiftlet's version: `major.minor.patch`.
let version: StaticString = "0.1.0"

/// The commands of the command line, with what `help` says of each.
enum Command: CaseIterable {
  case run, dtb, check, bench, daemon, start, stop, kill, wait, ps, inspect, logs, attach, events, metrics, rm, bridge
  case help

  var name: StaticString {
    switch self {
    case .run: "run"
    case .dtb: "dtb"
    case .check: "check"
    case .bench: "bench"
    case .daemon: "daemon"
    case .start: "start"
    case .stop: "stop"
    case .kill: "kill"
    case .wait: "wait"
    case .ps: "ps"
    case .inspect: "inspect"
    case .logs: "logs"
    case .attach: "attach"
    case .events: "events"
    case .metrics: "metrics"
    case .rm: "rm"
    case .bridge: "bridge"
    case .help: "help"
    }
  }

  /// One line for the list of commands.
  var summary: StaticString {
    switch self {
    case .run: "run an applet and end with its status"
    case .dtb: "write the device tree that a guest would get"
    case .check: "say whether this host can run applets, and what to do where it cannot"
    case .bench: "measure how fast applets run here, beside the least that C needs for the same"
    case .daemon: "hold applets, and serve the control socket"
    case .start: "let the daemon start an applet"
    case .stop: "stop applets of the daemon"
    case .kill: "end applets of the daemon at once"
    case .wait: "wait for an applet's end, and end with its status"
    case .ps: "list the daemon's applets"
    case .inspect: "say what there is to know of an applet"
    case .logs: "print what an applet has written"
    case .attach: "send an applet input, print its output, end with its status"
    case .events: "print what happens to applets"
    case .metrics: "print the daemon's counters"
    case .rm: "forget applets that have ended"
    case .bridge: "carry a connection to the daemon over standard input and output"
    case .help: "explain a command"
    }
  }

  /// Its words, behind the name.
  var synopsis: StaticString {
    switch self {
    case .run: "[OPTION]… APPLET.elf [ARGUMENT]…, or --linux IMAGE [OPTION]…"
    case .dtb: "[OPTION]… APPLET.elf [ARGUMENT]…, or --linux IMAGE [OPTION]…"
    case .check: ""
    case .bench: "[OPTION]… [NAME]…"
    case .daemon, .ps, .events, .metrics, .bridge: "[OPTION]…"
    case .start: "[OPTION]… APPLET.elf [ARGUMENT]…"
    case .stop, .kill, .rm: "[OPTION]… NAME…"
    case .wait, .inspect, .logs, .attach: "[OPTION]… NAME"
    case .help: "[COMMAND]"
    }
  }

  var options: [Option] {
    switch self {
    case .run: runOptions
    case .dtb: dtbOptions
    case .bench: benchOptions
    case .daemon: daemonOptions
    case .start: startOptions
    case .stop:
      [
        Option("grace", short: "g", argument: "DURATION", help: "kill it after so long (default 5s)"), socketOption,
        jsonOption,
      ]
    case .logs: [Option("follow", short: "f", help: "go on until the applet has ended"), socketOption]
    case .attach, .rm, .bridge: [socketOption]
    case .kill, .wait, .ps, .inspect, .events, .metrics: [socketOption, jsonOption]
    case .check, .help: []
    }
  }

  /// What the help says below the options.
  var details: StaticString {
    switch self {
    case .run:
      """
      APPLET.elf is a static ELF executable for this host's architecture (type EXEC or static PIE), of which no segment is
      writable and executable. It runs in user mode of a virtual machine of its own: text read-only, data not executable,
      the page at address zero and the one under its stack unmapped. The ARGUMENTs are the applet's.

      SIZE is a number of bytes, or one with K, M, G or T behind it. DURATION is a number of seconds, or one with ns, us,
      ms, s, m, h or d behind it.

      A device tree tells the guest its machine; its address is in x0, or a1. An --overlay changes it, with target-path or
      labels of its own, and --dtb takes its place; neither may say what is not so: memory, processors or devices that the
      machine does not have. swiftlet dtb writes the tree.

      Exit status: the applet's own (0 to 119 are left to it, 134 is a panic of its library), or
        120  copies in lockstep differed, and no majority of them agreed
        121  the applet broke a rule: an exception, a call that does not exist, memory that is not its own
        122  the command line is wrong
        123  the host cannot run it: see swiftlet check
        124  a limit of time was reached
        125  it was stopped from outside
        126  the file is no applet that can be run, or no device tree that can be used
        127  the file cannot be read

      With --non-secure APPLET.elf is a bare-metal program for system mode: memory and devices at their physical addresses,
      MMU and caches on, PSCI or SBI there, calls by HVC or by an SBI extension (applet_abi.h). That it turns its machine
      off is exit status 0, and that it asks for a reset 133.

      With --with-secure it has an applet beside it, of 16 MiB, which it calls or gives turns (applet_abi.h). The applet's
      end is reported, and does not end the program.

      With --linux, IMAGE is a kernel as distributions ship it (/boot/vmlinuz, /boot/firmware/kernel8.img), plain or
      compressed with gzip, and --memory is its memory (default 256M).
      Its console is a serial port, console=ttyS0, unless --append says another: console=hvc0 is a virtio console, which
      follows the size of the terminal and needs the kernel's virtio_mmio module. On a terminal, Ctrl-A x ends the run, and
      Ctrl-A Ctrl-A sends a Ctrl-A. A --port is /dev/vport1p0 and so on in the guest, or /dev/virtio-ports/NAME where udev
      runs. --with-secure runs an applet beside Linux, with its input and output behind the port "secure".

      Exit status: 0 when it powers itself off, 122 to 127 as above, or
        133  it asked for a reset
        134  its kernel panicked

      """
    case .dtb:
      """
      Makes the machine that swiftlet run would make with these words, and writes the flattened device tree that its guest
      would get: "swiftlet dtb hello.elf | dtc -I dtb -" shows it. See swiftlet help run for the options.

      Exit status: 0, or as that of swiftlet run where the machine cannot be made.

      """
    case .check:
      """
      Prints a line for each thing that running applets needs.

      Exit status: 0 where this host can run applets, 1 where it cannot.

      """
    case .bench:
      """
      Runs the benchmarks of these NAMEs, or all of them; docs/benchmarks.md tells what each does. The floor is the same
      work done by the shortest C over the same requests of the kernel, in the same run. The spread is the width of the
      middle half of the samples, by their median; ratio and comparison are of the mean of their lower half.

      With --compare, that mean is compared with the same of FILE, and what grew by more than its tolerancePercent there
      fails: 3, or more for what differs from run to run; change it as you like. Where FILE is of another kernel, ratios to
      the floor are compared, and not amounts. Where no NAME is given, what FILE has and is not measured fails, too.

      What takes files that are not given is skipped, and said: a Linux guest's kernel and initial file system, for
      linux. With --applet and --beside, start measures two programs more.

      Exit status: 0, or 1 where a benchmark could not be run or a comparison failed; 122, 123 and 127 as of
      swiftlet run.

      """
    case .daemon:
      """
      Holds applets, each in a process of its own, and serves the control socket. The protocol is Varlink; the interface is
      org.swiftlet.Control (share/varlink, or varlinkctl introspect).

      SIGTERM stops the applets, the youngest first, and ends it. SIGHUP replaces it by its own program anew, which goes on
      with the applets; so does a daemon that is started where another was killed.

      Exit status: 0 after SIGTERM, 122 where the command line is wrong, 123 where it cannot listen.

      """
    case .start:
      """
      Prints the applet's name once its first instruction is about to run. The file is opened here, not by the daemon. A
      restart waits 1 second, or --restart-delay, the next one twice as long, up to a minute.

      --process-memory, --cpu-percent and --threads take a control group, which systemd or --cgroup leaves to the daemon.

      Exit status: 0, or
          1  the daemon refuses: the name is taken, this user may not
        122  the command line is wrong
        123  no daemon listens there, or the host cannot run the applet
        126  the file is no applet that can be run
        127  the file cannot be read

      """
    case .wait, .attach:
      """
      Exit status: the applet's own, or that of swiftlet run (swiftlet help run); 128 and a signal's number where a signal
      ended the applet's process; 123 where no daemon listens, or it knows no such applet.

      """
    case .stop, .kill, .rm, .ps, .inspect, .logs, .events, .metrics:
      """
      Exit status: 0, 1 where the daemon refuses, 122 where the command line is wrong, 123 where no daemon listens.

      """
    case .bridge:
      """
      Lets a Varlink client on another machine reach the daemon:
      varlink --bridge "ssh pi swiftlet bridge" call ….

      Exit status: 0 when the daemon has closed the connection, 122 where the command line is wrong, 123 where no daemon
      listens.

      """
    case .help: ""
    }
  }

  /// The whole help text.
  var helpText: String {
    var text = "Usage: swiftlet \(name) \(synopsis)\n\n\(Self.capitalized(summary)).\n\n"
    var rows: [(String, StaticString)] = options.map { option in
      let short = option.short.map { "-\($0), " } ?? "    "
      return ("  \(short)--\(option.long)" + (option.argument.map { " \($0)" } ?? ""), option.help)
    }
    rows.append(("  -h, --help", "print this text"))
    let width = rows.reduce(0) { max($0, $1.0.utf8.count) }
    text += "Options:\n"
    for (left, right) in rows { text += padded(left, to: width + 2) + "\(right)\n" }
    let details = details.description
    return details.isEmpty ? text : text + "\n" + details
  }

  private static func capitalized(_ text: StaticString) -> String {
    let text = text.description
    return text.prefix(1).uppercased() + text.dropFirst()
  }

  /// Help for the program as a whole.
  static var overview: String {
    var text = """
      Usage: swiftlet COMMAND [ARGUMENT]…

      Runs small bare-metal programs, applets, as KVM guests on ARM64 and RISC-V Linux hosts.

      Commands:

      """
    for command in allCases { text += "  " + padded(command.name.description, to: 8) + "\(command.summary)\n" }
    return text + """

      swiftlet help COMMAND explains a command; swiftlet --version prints the version.

      """
  }
}

/// Text with spaces behind it.
func padded(_ text: String, to width: Int) -> String {
  text + String(repeating: " ", count: max(width - text.utf8.count, 0))
}

/// Swiftlet's version: `major.minor.patch`.
let version: StaticString = "0.1.0"

/// The commands, with their help texts.
enum Command: CaseIterable {
  case run, dtb, check, bench, daemon, apply, start, restart, stop, kill, wait, ps, inspect, stats, logs, attach
  case events, metrics, update, rm, prune, bridge, help

  var name: StaticString {
    switch self {
    case .run: "run"
    case .dtb: "dtb"
    case .check: "check"
    case .bench: "bench"
    case .daemon: "daemon"
    case .apply: "apply"
    case .start: "start"
    case .restart: "restart"
    case .stop: "stop"
    case .kill: "kill"
    case .wait: "wait"
    case .ps: "ps"
    case .inspect: "inspect"
    case .stats: "stats"
    case .logs: "logs"
    case .attach: "attach"
    case .events: "events"
    case .metrics: "metrics"
    case .update: "update"
    case .rm: "rm"
    case .prune: "prune"
    case .bridge: "bridge"
    case .help: "help"
    }
  }

  /// A line for the list of commands.
  var summary: StaticString {
    switch self {
    case .run: "run an applet and exit with its status"
    case .dtb: "write the device tree of a guest"
    case .check: "check whether this host can run applets"
    case .bench: "measure performance, and compare it with a minimal C program"
    case .daemon: "run applets in the background, and serve the control socket"
    case .apply: "start, change and remove applets as files declare them"
    case .start: "start an applet in the daemon"
    case .restart: "stop applets, and start them again"
    case .stop: "stop applets"
    case .kill: "kill applets"
    case .wait: "wait for the end of applets, and exit with their status"
    case .ps: "list applets"
    case .inspect: "show the details of applets"
    case .stats: "show what applets use: CPU, memory, calls"
    case .logs: "print the output of applets"
    case .attach: "connect to an applet's input and output, and exit with its status"
    case .events: "print events of applets"
    case .metrics: "print the counters of the daemon, and figures of its applets for Prometheus"
    case .update: "change limits of running applets"
    case .rm: "remove applets"
    case .prune: "remove all applets that have ended"
    case .bridge: "connect standard input and output to the daemon"
    case .help: "print help for a command"
    }
  }

  /// Its arguments.
  var synopsis: StaticString {
    switch self {
    case .run: "[OPTION]… APPLET.elf [ARGUMENT]…, or --linux IMAGE [OPTION]…"
    case .dtb: "[OPTION]… APPLET.elf [ARGUMENT]…, or --linux IMAGE [OPTION]…"
    case .bench: "[OPTION]… [NAME]…"
    case .check, .daemon, .ps, .events, .metrics, .prune, .bridge: "[OPTION]…"
    case .apply: "[OPTION]… FILE|DIRECTORY…"
    case .start: "[OPTION]… APPLET.elf [ARGUMENT]…"
    case .restart, .stop, .kill, .wait, .inspect, .logs, .update, .rm: "[OPTION]… NAME…"
    case .stats: "[OPTION]… [NAME]…"
    case .attach: "[OPTION]… NAME"
    case .help: "[OPTION]… [COMMAND]"
    }
  }

  /// Its options, for the help.
  var options: [OptionText] {
    func texts<Arguments>(_ options: [Option<Arguments>]) -> [OptionText] { options.map { $0.text } }
    return switch self {
    case .run: texts(RunArguments.options)
    case .dtb: texts(RunArguments.dtbOptions)
    case .bench: texts(BenchArguments.options)
    case .daemon: texts(DaemonArguments.options)
    case .apply: texts(ApplyArguments.options)
    case .start: texts(StartArguments.options)
    case .restart, .stop: texts(AppletArguments.stopOptions)
    case .ps: texts(AppletArguments.listOptions)
    case .stats: texts(AppletArguments.statisticsOptions)
    case .logs: texts(AppletArguments.logOptions)
    case .update: texts(UpdateArguments.options)
    case .rm: texts(AppletArguments.removeOptions)
    case .attach, .bridge: texts(AppletArguments.socketOptions)
    case .kill, .wait, .inspect, .events, .prune: texts(AppletArguments.options)
    case .metrics: texts(MetricsArguments.options)
    case .help: texts(HelpArguments.options)
    case .check: texts(CheckArguments.options)
    }
  }

  /// Whether options end at the first operand: arguments after an applet's file are the applet's. Otherwise options may follow operands.
  var endsAtOperand: Bool {
    switch self {
    case .run, .start: true
    case .dtb, .check, .bench, .daemon, .apply, .restart, .stop, .kill, .wait, .ps, .inspect, .stats, .logs, .attach,
      .events, .metrics, .update, .rm, .prune, .bridge, .help:
      false
    }
  }

  /// The help text below the options.
  var details: StaticString {
    switch self {
    case .run:
      """
      APPLET.elf is a static ELF executable for this host's architecture (type EXEC or static PIE), or on arm64 for 32-bit Arm
      (EABI), if the CPUs have AArch32, without segments that are both writable and executable. It runs in user mode in a
      virtual machine of its own. Text is read-only, data is not executable, and the page at address zero and the page below
      the stack are not mapped. The ARGUMENTs are passed to it.

      The layout of its memory is compact, with the stack next to the image and a guard page below the stack, or contiguous:
      image, heap and stack in one piece that ends with the stack, as GoTEE's applets and Go's runtime have it. Images made
      by Go get the latter without --layout. An image can ask for a layout with a note (applet_abi.h).

      On riscv64 an applet with --clint, or whose image was made by Go, can read the register mtime of a CLINT at 0x200bff8:
      the microseconds since the guest was created. GoTEE's applets read the time there.

      SIZE is a number of bytes, or a number with the suffix K, M, G or T. DURATION is a number of seconds, or a number with
      the suffix ns, us, ms, s, m, h or d.

      The guest gets a device tree; its address is in x0, or a1. --overlay changes it, and --dtb replaces it. Neither may
      contradict the guest's hardware, such as memory, CPUs or devices. swiftlet dtb writes the tree.

      Exit status: the applet's own (134 is a panic of its library), or
        120  copies in lockstep differed, and there was no majority
        121  the applet was stopped for a fault: an exception, an undefined call, memory that it cannot access
        122  invalid command line
        123  the host cannot run it: see swiftlet check
        124  it exceeded --timeout, --cpu-budget or --call-budget
        125  it was stopped: by the daemon, or with --linux by SIGTERM, SIGINT, SIGHUP or Ctrl-A x
        126  invalid image or device tree
        127  a file cannot be read

      With --non-secure, APPLET.elf is a bare-metal program for system mode. Memory and devices are at their physical
      addresses, MMU and caches are on, PSCI or SBI is available, and calls are made with HVC or an SBI extension
      (applet_abi.h). The exit status is 0 if it powers off, and 133 if it requests a reset.

      --with-secure FILE runs the applet FILE, with 16 MiB of memory, as the secure peer of the program, which can call it or
      yield to it (applet_abi.h). The end of the peer is reported, and does not end the program.

      With --linux, IMAGE is a kernel such as /boot/vmlinuz or /boot/firmware/kernel8.img, uncompressed or compressed with
      gzip, and --memory is the memory of the guest (default 256M).
      The console is a serial port, console=ttyS0, unless --append sets another: console=hvc0 is a virtio console, which
      follows the size of the terminal and needs the kernel's virtio_mmio module. On a terminal, Ctrl-A x ends the run,
      Ctrl-A z suspends it, and Ctrl-A Ctrl-A sends a Ctrl-A. A --port is /dev/vport1p0 and so on in the guest, or
      /dev/virtio-ports/NAME if udev runs. --with-secure runs an applet next to Linux; its input and output are the port
      "secure".

      Exit status with --linux: 0 if it powers off, 121 to 127 as above, or
        133  it requested a reset
        134  its kernel panicked

      """
    case .dtb:
      """
      Writes the flattened device tree of the guest that swiftlet run would start with the same arguments:
      "swiftlet dtb hello.elf | dtc -I dtb -" prints it. See swiftlet help run for the options,
      which may also follow APPLET.elf: "--" ends them, before an ARGUMENT that begins with "-".

      Exit status: 0, or that of swiftlet run if the guest cannot be created.

      """
    case .check:
      """
      Prints a line for each feature that applets need, and what to do if it is missing; then lines for optional features,
      which say what is lost without them. With --json, "required" tells the two apart.

      Exit status: 0 if this host can run applets, 1 if it cannot.

      """
    case .bench:
      """
      Runs the benchmarks with these NAMEs, or all; docs/benchmarks.md describes them. The baseline is the same work done by
      a minimal C program with the same system calls, in the same run. The spread is the interquartile range divided by the
      median. Ratios and comparisons use the mean of the lower half of the samples.

      With --compare, this mean is compared with that in FILE, and growth by more than tolerancePercent in FILE fails;
      --json writes 3, and more for figures that vary from run to run. A result without it may grow. If FILE is from
      another kernel, ratios to the baseline are compared instead. Without a NAME, figures in FILE that were not measured
      fail, too.

      Benchmarks whose files are not given are skipped, such as linux without a kernel and an initrd. With
      --applet and --beside, start measures two more programs.

      Exit status: 0, or 1 if a benchmark or a comparison failed; 122, 123 and 127 as for swiftlet run.

      """
    case .daemon:
      """
      Runs each applet in a process of its own, and serves the control socket. The protocol is Varlink; the interface is
      org.swiftlet.Control (share/varlink, or varlinkctl introspect).

      SIGTERM stops the applets, the youngest first, and ends the daemon. SIGHUP makes it execute its program again and
      continue with the applets. A new daemon also continues with the applets of one that was killed.

      When it starts, and after SIGHUP, it applies the directory of declared applets as swiftlet apply --prune does: what is
      declared is started, what has changed is started anew, and what is no longer declared is stopped and removed.

      Run by another user than root, it is that user's own daemon: the socket is $XDG_RUNTIME_DIR/swiftlet/control.sock, the
      applets' files are in $XDG_STATE_HOME/swiftlet/applets (~/.local/state without the variable), and applets are declared
      in $XDG_CONFIG_HOME/swiftlet/applets.d (~/.config). Commands of this user use it, if it runs, without --socket.

      Exit status: 0 after SIGTERM, 122 for an invalid command line, 123 if it cannot listen.

      """
    case .apply:
      """
      A file NAME.json declares the applet NAME: a JSON object with the parameters of Start (share/varlink;
      /usr/share/swiftlet/applet.schema.json describes it for editors). The image's path may be relative to the file. For a
      DIRECTORY, all its files NAME.json are applied. For each applet a line says what was done:

        started     it is new, or had been stopped by the end of the daemon
        changed     its file or its image has changed: it was stopped, and started anew. Its values and output stay
        unchanged   it is as it was declared, whether it still runs or has ended
        removed     with --prune: its file is no longer in the directory

      A declared applet that has ended by itself, or that was stopped, is started again at the next boot. Files with errors
      are reported, do not stop the applet that runs, and do not keep the others from being applied.

      Exit status: 0, or the first of these that occurred:
          1  a file is invalid, or the daemon rejected the applet
        122  invalid command line
        123  no daemon is running, or the host cannot run the applet
        126  invalid image, or not the one of the digest
        127  a file cannot be read

      """
    case .start:
      """
      Prints the applet's name just before its first instruction is executed. The file is opened by this command, not by
      the daemon. --restart on-failure starts the applet again after any end except exit status 0, always after every end;
      neither does so after a user has stopped it. The delay before a restart is 1 second, or --restart-delay, and doubles
      each time up to a minute.

      --process-memory, --cpu-percent and --threads need a control group, delegated by systemd or set with --cgroup.

      Exit status: 0, or
          1  the daemon rejected the request: the name is in use, or the user lacks permission
        122  invalid command line
        123  no daemon is running, or the host cannot run the applet
        126  invalid image, or not the one of --digest
        127  the file cannot be read

      """
    case .restart:
      """
      An applet is asked to stop, and killed after the grace period; it is then started with the settings that it had. One
      that has ended is started as well. The restart policy has no part in this, and restarts are counted anew.

      The daemon has a copy of the image of an applet that runs with a restart policy. For others the file is opened again,
      by this command or, if it cannot, by the daemon.

      Exit status: 0, or
          1  the daemon rejected the request
        122  invalid command line
        123  no daemon is running, or the host cannot run the applet
        126  the image is invalid now, or cannot be read

      """
    case .wait:
      """
      For several applets the exit status is that of the last NAME whose status is not 0.

      Exit status: the applet's own, or that of swiftlet run (see swiftlet help run); 128 plus the number of a signal that
      killed the applet's process; 123 if no daemon is running, or it has no such applet.

      """
    case .ps:
      """
      A FILTER is state= with starting, running, waiting, exited, stopped, failed or lost, or name= with a pattern of the
      shell. Several of the same kind list the applets that match one of them. On a terminal, lines are cut to fit its width.

      Exit status: 0, 1 if the daemon rejected the request, 122 for an invalid command line, 123 if no daemon is running.

      """
    case .stats:
      """
      Shows the applets that have not ended, or those named. On a terminal the figures are replaced each second until the
      command is interrupted, and --json prints an object on a line each second; otherwise there is one table, as with
      --no-stream. CPU is that of the applet's process in percent of one CPU, MEMORY its resident memory.

      Exit status: 0, 1 if the daemon rejected the request, 122 for an invalid command line, 123 if no daemon is running.

      """
    case .logs:
      """
      The daemon keeps about the last 256 KiB of an applet's output. TIME is a duration, 10m for ten minutes ago, or a local
      time, "2026-01-31 12:00", or one that --timestamps or swiftlet events prints, or @ and seconds since 1970. Times have
      a resolution of 0.1 seconds.

      With several NAMEs each line begins with the applet's name, in colours on a terminal unless NO_COLOR is set, and
      --follow prints the lines in the order in which they come.

      Exit status: 0, 1 if the daemon rejected the request, 122 for an invalid command line, 123 if no daemon is running.

      """
    case .update:
      """
      Limits that are not given keep their values. --timeout counts from the applet's start. They hold until the applet is
      removed, also when it is started again.

      Exit status: 0, 1 if the daemon rejected the request, 122 for an invalid command line, 123 if no daemon is running.

      """
    case .attach:
      """
      Exit status: the applet's own, or that of swiftlet run (see swiftlet help run); 128 plus the number of a signal that
      killed the applet's process; 123 if no daemon is running, or it has no such applet.

      """
    case .metrics:
      """
      --prometheus prints the daemon's counters and each applet's state, ends, calls, CPU time and memory in Prometheus' text
      format; docs/metrics.md lists them. --http answers one HTTP request in this way: swiftlet-metrics.socket starts it for
      each connection.

      Exit status: 0, 1 if the daemon rejected the request, 122 for an invalid command line, 123 if no daemon is running,
      except with --http.

      """
    case .stop, .kill, .rm, .prune, .inspect, .events:
      """
      Exit status: 0, 1 if the daemon rejected the request, 122 for an invalid command line, 123 if no daemon is running.

      """
    case .bridge:
      """
      Connects a Varlink client on another machine to the daemon:
      varlink --bridge "ssh pi swiftlet bridge" call ….

      Exit status: 0 if the daemon has closed the connection, 122 for an invalid command line, 123 if no daemon is running.

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
    rows.append(("  -h, --help", "print this help"))
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

      swiftlet help COMMAND explains a command, swiftlet help --all each; swiftlet --version prints the version.

      """
  }
}

import Foundation
import Testing

/// Debian's own kernels as guests: to a shell and back to power-off on each board, and every other way in which that ends.
struct LinuxTests {
  static let session = Session(
    Board.allCases.filter { $0 != .arm64Linux61 }.flatMap(cases),
    timeout: 900, options: ["--linux", "--smp", "2", "--memory", "1G"]
  ) { ["foreign": foreignKernel($0), "reset.dtbo": resetOverlay] }

  @Test(arguments: session.cases.filter { $0.board.architecture == "arm64" })
  func arm64(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Test(arguments: session.cases.filter { $0.board == .riscv64 })
  func riscv64(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Test(
    .enabled(if: Board.riscv64AIA.isAvailable, "riscv64-aia cannot be had here: boards/list says what it lacks"),
    arguments: session.cases.filter { $0.board == .riscv64AIA })
  func riscv64AIA(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func cases(_ board: Board) -> [Case] {
    var cases = [trees(board), shell(board), whatIsWritten(board)]
    if board == .arm64 || board == .riscv64 {
      cases += [panic(board), reset(board), timeout(board), process(board)] + refused(board)
    }
    if board == .arm64 { cases.append(withoutSandbox(board)) }
    if board == .riscv64 { cases.append(silentReset(board)) }
    return cases
  }

  /// The trees of this host's machines, in base64.
  private static func trees(_ board: Board) -> Case {
    Case(
      board, "dtb",
      script: """
        truncate -s 1M /tmp/disk
        for words in 'hello.elf one' '--non-secure --cpus 2 system-hello.elf one' \\
          '--linux ../Image --cpus 2 --initrd ../initrd --disk /tmp/disk --port a=/tmp/port --with-secure vault.elf'
        do swiftlet dtb $words | base64 -w 0; echo; done
        [ ! -e /tmp/port ]
        """,
      output: .pattern("([A-Za-z0-9+/=]{500,}\n){3}"))
  }

  private static let treeCases = session.cases.filter { $0.name == "dtb" && $0.board.isAvailable }

  private func forEachTree(_ entry: Case, _ body: (_ number: Int, _ file: String) throws -> Void) async throws {
    let trees = try await Self.session.outcome(of: entry).output.split(separator: "\n")
    #expect(trees.count == 3)
    for (number, tree) in trees.enumerated() {
      try withScratchFolder { folder in
        let file = folder.appending(path: "tree.dtb")
        try #require(Data(base64Encoded: String(tree))).write(to: file)
        try body(number, file.path)
      }
    }
  }

  @Test(arguments: treeCases)
  func treesAreSound(_ entry: Case) async throws {
    try await forEachTree(entry) { number, file in
      // Its warnings are errors.
      let source = try Program.run("/usr/bin/env", ["dtc", "-I", "dtb", "-O", "dts", file])
      #expect(source.status == 0 && source.errors.isEmpty, "\(entry.testDescription), tree \(number): \(source.errors)")
      guard number == 2 else { return }
      for property in ["bootargs", "linux,initrd-start", "linux,initrd-end", "stdout-path", "rng-seed", "kaslr-seed"] {
        #expect(source.output.contains("\t\t\(property) = "), "no \(property) in\n\(source.output)")
      }
    }
  }

  @Test(
    .enabled(
      if: (try? Program.run(Repository.path("tools/dt-validate"), ["--available"]).status) == 0,
      "there is no dtschema: tools/setup schemas gets it, where PyPI can be reached"),
    arguments: treeCases)
  func treesFollowTheSchemas(_ entry: Case) async throws {
    try await forEachTree(entry) { number, file in
      let complaints = try Program.run(Repository.path("tools/dt-validate"), [file])
      #expect(complaints.status == 0, "\(entry.testDescription), tree \(number): \(complaints.output)")
    }
  }

  private static func interruptController(_ board: Board) -> String {
    switch board {
    case .arm64: "GICv3"
    case .arm64GICv2, .arm64Pages16K, .arm64Linux61: "GICv2"
    case .riscv64: "PLIC"
    case .riscv64AIA: "AIA"
    }
  }

  /// One boot with everything in it. What is typed shows on the console too: the answers are put together so that they
  /// differ from the questions.
  private static func shell(_ board: Board) -> Case {
    let typed = """
      echo processors: $(grep -c ^processor /proc/cpuinfo) online: $(cat /sys/devices/system/cpu/online)
      echo arguments: $(tail -c 10 /proc/cmdline)
      echo first: $(head -c 5 /dev/vda) second: $(head -c 6 /dev/vdb)
      echo written | dd of=/dev/vda conv=notrunc bs=8 seek=128
      echo refused >/dev/vdb || echo read-only: yes
      echo random: $(cat /sys/class/misc/hw_random/rng_current) $(head -c 16 /dev/hwrng | wc -c)
      echo ports: $(ls /dev/virtio-ports)
      read line </dev/virtio-ports/channel; echo heard: $line
      echo answer to "$line" >/dev/virtio-ports/channel
      a=$(ask secure first words); b=$(ask secure other words); c=$(ask secure first words)
      echo "$a / $b / $c"; [ "${a#*: }" = "${c#*: }" ] && [ "${a#*: }" != "${b#*: }" ] && echo codes: agree
      taskset 2 sh -c 'echo on processor $(cut -d " " -f 39 /proc/self/stat)'
      exit

      """
    // Of the channel's other side: a program on the host that asks the guest.
    let script = """
      (yes first | head -c 65536) >/tmp/first; (yes second | head -c 1024) >/tmp/second
      cat >/tmp/typed <<'END'
      \(typed)END
      (sleep 1; until ask /tmp/channel a question; do sleep 1; done) >/tmp/heard 2>/dev/null &
      timeout 300 swiftlet run --verbose --linux ../Image --initrd ../initrd --append quiet --append last=word --cpus 2 \\
        --memory 320M --with-secure vault.elf --disk /tmp/first --disk /tmp/second,ro --port channel=/tmp/channel </tmp/typed
      """
    return Case(
      board, "run --linux to a shell", script: script,
      output: .containing([
        "\nprocessors: 2 online: 0-1\r\n", "\narguments: last=word\r\n", "\nfirst: first second: second\r\n",
        "\nread-only: yes\r\n", "\nrandom: virtio_rng.0 16\r\n", "\nports: channel secure\r\n",
        "\nheard: a question\r\n",
        " / line 2: ", "\ncodes: agree\r\n",
        "\non processor 1\r\n",
      ]), errors: .containing(["swiftlet: interrupts: \(interruptController(board))\n"]))
  }

  /// What that boot left behind on the host.
  private static func whatIsWritten(_ board: Board) -> Case {
    Case(
      board, "what the guest has written",
      script: "tail -c +1025 /tmp/first | head -c 8; head -c 6 /tmp/second; cat /tmp/heard; ls /tmp/channel",
      status: 1, output: "written\nsecondanswer to a question\n", errors: .containing(["/tmp/channel"]))
  }

  /// The kernel compressed, and nothing to boot into.
  private static func panic(_ board: Board) -> Case {
    Case(
      board, "run --linux without an initrd, with a tree in the generated one's place",
      script: """
        swiftlet dtb --linux ../Image.gz --append loglevel=1 -o /tmp/linux.dtb
        timeout 300 swiftlet run --linux ../Image.gz --dtb /tmp/linux.dtb
        """,
      status: 134,
      output: .containing(["Kernel panic - not syncing"]),
      errors: .pattern("swiftlet: \\.\\./Image\\.gz: kernel panic: VFS: Unable to mount root fs on [^\n]*\n"))
  }

  private static func reset(_ board: Board) -> Case {
    Case(
      board, "run --linux with a reset, by an overlay",
      script: "timeout 300 swiftlet run --linux ../Image --initrd ../initrd --overlay ../files/reset.dtbo",
      status: 133,
      output: .containing(["Linux version", "reboot: Restarting system"]),
      errors: "swiftlet: ../Image: asked for a reset\n")
  }

  /// Without the driver of its console.
  private static func silentReset(_ board: Board) -> Case {
    Case(
      board, "run --linux with a reset that nothing was heard of",
      script: "timeout 300 swiftlet run --linux ../Image --initrd ../initrd "
        + "--append 'console=hvc0 rdinit=/bin/reboot -- -f'",
      status: 133,
      errors:
        "swiftlet: ../Image: asked for a reset before it wrote anything: --append earlycon shows its first words\n")
  }

  private static let resetOverlay = TreeTests.compiled(
    text: """
      /dts-v1/; /plugin/;
      &{/chosen} { bootargs = "console=ttyS0 loglevel=6 rdinit=/bin/reboot -- -f"; };
      """)

  private static func timeout(_ board: Board) -> Case {
    Case(
      board, "run --linux with a time limit",
      script: "timeout 300 swiftlet run --timeout 500ms --linux ../Image --append quiet",
      status: 124, errors: "swiftlet: ../Image: still running at its time limit\n")
  }

  /// Every thread is in the sandbox, and what the process was started with is closed.
  private static func process(_ board: Board) -> Case {
    Case(
      board, "the process of run --linux",
      script: """
        /bin/swiftlet run --timeout 30s --linux ../Image --cpus 2 --with-secure vault.elf --append quiet 7</etc/passwd \\
          >/dev/null 2>&1 &
        until grep -q Seccomp:.2 /proc/$!/status; do sleep 0.1; done; sleep 0.5
        cat /proc/$!/task/*/status | grep -E '^(CapPrm|CapEff|NoNewPrivs|Seccomp):' | sort | uniq -c
        for descriptor in /proc/$!/fd/*; do readlink $descriptor; done |
          grep -vc '^/dev/null$\\|kvm\\|anon_inode:\\[eventfd\\]\\|^socket:'
        kill $!; wait $!; echo $?
        """,
      // Two processors, devices, the applet.
      output: .pattern(
        " +4 CapEff:\t0{16}\n +4 CapPrm:\t0{16}\n +4 NoNewPrivs:\t1\n +4 Seccomp:\t2\n0\n125\n"))
  }

  private static func withoutSandbox(_ board: Board) -> Case {
    Case(
      board, "run --linux --no-sandbox",
      script: """
        /bin/swiftlet run --no-sandbox --timeout 3s --linux ../Image --append quiet --port a=/tmp/port &
        until [ -S /tmp/port ]; do sleep 0.1; done; sleep 0.5
        grep Seccomp: /proc/$!/status; ls /tmp/port; wait $!; echo $?; ls /tmp/port
        """,
      status: 1, output: "Seccomp:\t0\n/tmp/port\n124\n",
      errors: .pattern(
        "swiftlet: --no-sandbox: this process keeps all its rights while the guest runs\n"
          + "swiftlet: \\.\\./Image: still running at its time limit\nls: /tmp/port: No such file or directory\n"))
  }

  // MARK: What cannot be run

  /// Words that are refused before any guest runs, each with one line.
  private static func refused(_ board: Board) -> [Case] {
    let image = "--linux ../Image "
    let noKernel = "no Linux kernel for ARM64 or RISC-V: give the file that a distribution installs as /boot/vmlinuz"
    let other = board.architecture == "arm64" ? "riscv64" : "arm64"
    let table: [(words: String, status: Int32, message: String)] = [
      ("--linux nowhere", 127, "nowhere: cannot be read: No such file or directory"),
      ("--linux /dev", 127, "/dev: cannot be read: Is a directory"),
      ("--linux /dev/zero", 127, "/dev/zero: not a regular file: give the path of a Linux kernel"),
      ("--linux ../initrd", 126, "../initrd: \(noKernel)"),
      (
        "--linux hello.elf", 126,
        "hello.elf: an ELF file, as the compiler left it: give the Image made of it (arch/*/boot/Image)"
      ),
      ("--linux /tmp/empty", 126, "/tmp/empty: \(noKernel)"),
      ("--linux /tmp/short", 126, "/tmp/short: ends before the kernel does: copy or build it again"),
      ("--linux /tmp/short.gz", 126, "/tmp/short.gz: ends before the kernel does: copy or build it again"),
      ("--linux /tmp/damaged.gz", 126, "/tmp/damaged.gz: its compressed data is damaged: copy or build it again"),
      (
        "--linux /tmp/packed", 126,
        "/tmp/packed: compressed with xz, where plain and gzip are known: give it unpacked"
      ),
      (
        "--linux ../files/foreign", 126,
        "../files/foreign: a kernel for \(other), and this host runs \(board.architecture): give one for "
          + board.architecture
      ),
      (image + "--initrd nowhere", 127, "nowhere: cannot be read: No such file or directory"),
      (
        image + "--initrd /tmp/large --memory 96M", 126,
        "../Image: kernel and initrd do not fit 96 MiB of memory: give it --memory [0-9]+M or more"
      ),
      (
        image + "--memory 512G", 123,
        "this host has [0-9]+ MiB of memory itself: give the guest less with --memory"
      ),
      (
        image + "--dtb /tmp/two.dtb", 126,
        "/tmp/two.dtb: contradicts the machine: /cpus/cpu@1 is a processor that the machine does not have"
      ),
      (image + "--overlay hello.elf", 126, "hello.elf: no flattened device tree: compile it with dtc"),
      (image + "--disk nowhere", 127, "nowhere: cannot be opened: No such file or directory"),
      (image + "--disk /tmp/empty", 127, "/tmp/empty: smaller than a sector of 512 bytes: give a disk image"),
      (image + "--disk /dev/null,ro", 127, "/dev/null: neither a regular file nor a block device: give a disk image"),
      (
        image + "--disk /tmp/fixed/disk", 127,
        "/tmp/fixed/disk: cannot be opened for writing: change its permissions, or give it with ,ro behind it"
      ),
      (
        image + "--disk /tmp/large --disk /tmp/large", 127,
        "/tmp/large: in use by another machine: give each its own copy, or give it read-only to all (,ro)"
      ),
      (
        image + "--port a=/tmp/empty", 127,
        "/tmp/empty: the file is there already, and no socket that was left over: give another path, or remove it"
      ),
    ]
    let prepare = Case(
      board, "files that are no kernels",
      script: """
        : >/tmp/empty; truncate -s 60M /tmp/large
        head -c 1000000 ../Image >/tmp/short; head -c 1000000 ../Image.gz >/tmp/short.gz
        (head -c 100000 ../Image.gz; cat ../initrd) >/tmp/damaged.gz
        printf '\\3757zXZ\\000' >/tmp/packed; mkdir /tmp/fixed; mount -t tmpfs none /tmp/fixed
        truncate -s 1M /tmp/fixed/disk; mount -o remount,ro /tmp/fixed
        swiftlet dtb --linux ../Image --cpus 2 -o /tmp/two.dtb
        """)
    return [prepare]
      + table.map { words, status, message in
        Case(
          board, "run \(words)", status: status,
          errors: .pattern(
            "swiftlet: "
              + message.replacing("(", with: "\\(").replacing(")", with: "\\)")
              .replacing("*", with: "\\*").replacing(".", with: "\\.") + "\n"))
      }
  }

  /// The header of a kernel for the other architecture.
  private static func foreignKernel(_ board: Board) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 64)
    bytes[18] = 1
    bytes.replaceSubrange(56..<60, with: board.architecture == "arm64" ? [0x52, 0x53, 0x43, 0x05] : Array("ARMd".utf8))
    return bytes
  }
}

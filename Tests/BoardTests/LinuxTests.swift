import Foundation
import Testing

/// Debian's kernels as guests: boot to a shell, power-off, and all other ways in which a run ends.
struct LinuxTests {
  static let session = Session(
    // "make test" boots one guest on each architecture.
    (Depth.isCheck ? Board.allCases.filter { $0 != .arm64Linux61 } : [.arm64, .riscv64]).flatMap(cases),
    timeout: 900, options: ["--linux", "--smp", "2", "--memory", "1G"]
  ) {
    [
      "foreign": foreignKernel($0), "reset.dtbo": resetOverlay,
      "devmem": compiled("Tests/Escape/devmem.c", for: $0),
    ]
  }

  @Test(arguments: session.cases.filter { $0.board.architecture == "arm64" })
  func arm64(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Test(arguments: session.cases.filter { $0.board == .riscv64 })
  func riscv64(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Test(
    .onlyInCheck,
    .enabled(if: Board.riscv64AIA.isAvailable, "riscv64-aia cannot be had here: boards/list says what it lacks"),
    arguments: session.cases.filter { $0.board == .riscv64AIA })
  func riscv64AIA(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func cases(_ board: Board) -> [Case] {
    var cases = [trees(board), shell(board), whatIsWritten(board)]
    guard Depth.isCheck else { return cases }
    if board == .arm64 || board == .riscv64 {
      cases += [panic(board), reset(board), timeout(board), process(board)] + refused(board)
    }
    if board == .arm64 { cases.append(withoutSandbox(board)) }
    if board == .riscv64 { cases.append(silentReset(board)) }
    return cases
  }

  /// The device trees of this host's VMs, in base64.
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
      try withScratchDirectory { directory in
        let file = directory.appending(path: "tree.dtb")
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
      let standardError = try Program.run(Repository.path("tools/dt-validate"), [file])
      #expect(standardError.status == 0, "\(entry.testDescription), tree \(number): \(standardError.output)")
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

  /// One boot with all devices. The console echoes what is typed; therefore the answers are composed such that they
  /// differ from the questions.
  private static func shell(_ board: Board) -> Case {
    let typed = """
      echo processors: $(grep -c ^processor /proc/cpuinfo) online: $(cat /sys/devices/system/cpu/online)
      echo arguments: $(tail -c 10 /proc/cmdline)
      echo first: $(head -c 5 /dev/vda) second: $(head -c 6 /dev/vdb)
      echo written | dd of=/dev/vda conv=notrunc bs=8 seek=128
      echo refused >/dev/vdb || echo read-only: yes
      dd if=/dev/zero of=/dev/vda conv=notrunc,fsync bs=512 seek=100 count=1 2>/dev/null || echo beyond: $(echo refused)
      echo random: $(cat /sys/class/misc/hw_random/rng_current) $(head -c 16 /dev/hwrng | wc -c)
      echo ports: $(ls /dev/virtio-ports)
      read line </dev/virtio-ports/channel; echo heard: $line
      echo answer to "$line" >/dev/virtio-ports/channel
      a=$(ask secure first words); b=$(ask secure other words); c=$(ask secure first words)
      echo "$a / $b / $c"; [ "${a#*: }" = "${c#*: }" ] && [ "${a#*: }" != "${b#*: }" ] && echo codes: agree
      cat /dev/vdc >/tmp/devmem; chmod 700 /tmp/devmem; /tmp/devmem; echo devmem: $? and alive
      taskset 2 sh -c 'echo on processor $(cut -d " " -f 39 /proc/self/stat)'
      exit

      """
    // At the other end of the port, a program on the host sends a request to the guest.
    let script = """
      (yes first | head -c 65536) >/tmp/first; (yes second | head -c 1024) >/tmp/second
      (cat ../files/devmem; head -c 512 /dev/zero) >/tmp/third
      cat >/tmp/typed <<'END'
      \(typed)END
      (sleep 1; until ask /tmp/channel a question; do sleep 1; done) >/tmp/heard 2>/dev/null &
      # Files may have 32 KiB: a disk that is larger can be written up to there.
      ulimit -f 64
      timeout 300 swiftlet run --verbose --linux ../Image --initrd ../initrd --append quiet --append last=word --cpus 2 \\
        --memory 320M --with-secure vault.elf --disk /tmp/first --disk /tmp/second,ro --disk /tmp/third,ro --port channel=/tmp/channel </tmp/typed
      """
    return Case(
      board, "run --linux to a shell", script: script,
      output: .containing([
        "\nprocessors: 2 online: 0-1\r\n", "\narguments: last=word\r\n", "\nfirst: first second: second\r\n",
        "\nread-only: yes\r\n", "\nbeyond: refused\r\n", "\nrandom: virtio_rng.0 16\r\n", "\nports: channel secure\r\n",
        "\nheard: a question\r\n",
        " / line 2: ", "\ncodes: agree\r\n",
        // SIGBUS; SIGSEGV.
        "\ndevmem: \(board.architecture == "arm64" ? 135 : 139) and alive\r\n",
        "\non processor 1\r\n",
      ]), errors: .containing(["swiftlet: interrupts: \(interruptController(board))\n"]))
  }

  /// The state of the host after this boot.
  private static func whatIsWritten(_ board: Board) -> Case {
    Case(
      board, "output of the guest",
      script: "tail -c +1025 /tmp/first | head -c 8; head -c 6 /tmp/second; cat /tmp/heard; ls /tmp/channel",
      status: 1, output: "written\nsecondanswer to a question\n", errors: .containing(["/tmp/channel"]))
  }

  /// A compressed kernel, and nothing to boot.
  private static func panic(_ board: Board) -> Case {
    Case(
      board, "run --linux without an initrd, with another tree",
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
      // Output of a program is not a panic of the kernel.
      output: .containing(["Linux version", "Kernel panic - not syncing: of last week", "reboot: Restarting system"]),
      errors: "swiftlet: ../Image: requested a reset\n")
  }

  /// Without a driver for its console.
  private static func silentReset(_ board: Board) -> Case {
    Case(
      board, "run --linux with a reset before any output",
      script: "timeout 300 swiftlet run --linux ../Image --initrd ../initrd "
        + "--append 'console=hvc0 rdinit=/bin/reboot -- -f'",
      status: 133,
      errors:
        "swiftlet: ../Image: requested a reset before any output: use --append earlycon to see early messages\n")
  }

  private static let resetOverlay = TreeTests.compiled(
    text: """
      /dts-v1/; /plugin/;
      &{/chosen} { bootargs = "console=ttyS0 loglevel=6 rdinit=/bin/sh -- -c \\\"echo Kernel panic - not syncing: of last week; reboot -f\\\""; };
      """)

  private static func timeout(_ board: Board) -> Case {
    Case(
      board, "run --linux with a time limit",
      script: "timeout 300 swiftlet run --timeout 500ms --linux ../Image --append quiet",
      status: 124, errors: "swiftlet: ../Image: timed out\n")
  }

  /// Every thread is in the sandbox, and inherited descriptors are closed.
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
      // Two CPUs, devices, the applet.
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
        "swiftlet: --no-sandbox: the guest runs without the sandbox\n"
          + "swiftlet: \\.\\./Image: timed out\nls: /tmp/port: No such file or directory\n"))
  }

  // MARK: Invalid guests

  /// Arguments that are rejected before any guest runs, each with one line.
  private static func refused(_ board: Board) -> [Case] {
    let image = "--linux ../Image "
    let noKernel = "not a Linux kernel for ARM64 or RISC-V: give the file that a distribution installs as /boot/vmlinuz"
    let other = board.architecture == "arm64" ? "riscv64" : "arm64"
    var table: [(words: String, status: Int32, message: String)] = [
      ("--linux nowhere", 127, "nowhere: cannot be read: No such file or directory"),
      ("--linux /dev", 127, "/dev: cannot be read: Is a directory"),
      ("--linux /dev/zero", 127, "/dev/zero: not a regular file: give the path of a Linux kernel"),
      ("--linux ../initrd", 126, "../initrd: \(noKernel)"),
      (
        "--linux hello.elf", 126,
        "hello.elf: an ELF file (vmlinux): give the Image that is made from it (arch/*/boot/Image)"
      ),
      ("--linux /tmp/empty", 126, "/tmp/empty: \(noKernel)"),
      ("--linux /tmp/short", 126, "/tmp/short: truncated: copy or build it again"),
      ("--linux /tmp/short.gz", 126, "/tmp/short.gz: truncated: copy or build it again"),
      ("--linux /tmp/damaged.gz", 126, "/tmp/damaged.gz: its compressed data is damaged: copy or build it again"),
      (
        "--linux /tmp/packed", 126,
        "/tmp/packed: compressed with xz; only gzip is supported: decompress it"
      ),
      (
        "--linux ../files/foreign", 126,
        "../files/foreign: a kernel for \(other), but the host is \(board.architecture): give one for "
          + board.architecture
      ),
      (image + "--initrd nowhere", 127, "nowhere: cannot be read: No such file or directory"),
      (
        image + "--initrd /tmp/large --memory 96M", 126,
        "../Image: kernel and initrd do not fit into 96 MiB of memory: give it --memory [0-9]+M or more"
      ),
      (
        image + "--memory 512G", 123,
        "the host has [0-9]+ MiB of memory: give the guest less with --memory"
      ),
      (
        image + "--dtb /tmp/two.dtb", 126,
        "/tmp/two.dtb: contradicts the guest's hardware: /cpus/cpu@1 is a CPU that the guest does not have"
      ),
      (image + "--overlay hello.elf", 126, "hello.elf: not a flattened device tree: compile it with dtc"),
      (image + "--disk nowhere", 127, "nowhere: cannot be opened: No such file or directory"),
      (image + "--disk /tmp/empty", 127, "/tmp/empty: smaller than a sector of 512 bytes: give a disk image"),
      (image + "--disk /tmp/fifo,ro", 127, "/tmp/fifo: neither a regular file nor a block device: give a disk image"),
      (image + "--disk /dev/null,ro", 127, "/dev/null: neither a regular file nor a block device: give a disk image"),
      (
        image + "--disk /tmp/fixed/disk", 127,
        "/tmp/fixed/disk: cannot be opened for writing: change its permissions, or append ,ro"
      ),
      (
        image + "--disk /tmp/large --disk /tmp/large", 127,
        "/tmp/large: in use by another VM: use a copy, or use it read-only in all (,ro)"
      ),
      (
        image + "--port a=/tmp/one --port a=/tmp/two", 122,
        "/tmp/two: another port has the same name: give each port its own name; see: swiftlet help run"
      ),
      (
        image + "--port a=/tmp/empty", 127,
        "/tmp/empty: the file exists and is not an unused socket: give another path, or remove it"
      ),
    ]
    if board == .arm64 {
      table.append(
        (
          "--linux /tmp/pages", 126,
          "/tmp/pages: a kernel with pages of 16 KiB, which this host's CPU does not support: give one with pages of 4 KiB"
        ))
    }
    let prepare = Case(
      board, "files that are not kernels",
      script: """
        : >/tmp/empty; truncate -s 60M /tmp/large; mkfifo /tmp/fifo
        # The Image header's flags: bits 1 and 2 say the size of pages.
        (head -c 24 ../Image; printf '\\014'; tail -c +26 ../Image) >/tmp/pages
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

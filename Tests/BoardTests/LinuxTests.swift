import Testing

/// Debian's own kernels as guests: to a shell and back to power-off on each board, and every other way in which that ends.
struct LinuxTests {
  static let session = Session(
    Board.allCases.flatMap(cases),
    timeout: 300, options: ["--linux", "--smp", "2", "--memory", "1G"]
  ) { ["foreign": foreignKernel($0)] }

  @Test(arguments: session.cases.filter { $0.board.architecture == "arm64" })
  func arm64(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Test(arguments: session.cases.filter { $0.board == .riscv64 })
  func riscv64(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  @Test(
    .enabled(if: Board.riscv64AIA.isAvailable, "riscv64-aia cannot be had here: boards/list says what it lacks"),
    arguments: session.cases.filter { $0.board == .riscv64AIA })
  func riscv64AIA(_ entry: Case) async throws { try await entry.check(in: Self.session) }

  private static func cases(_ board: Board) -> [Case] {
    var cases = [shell(board), whatIsWritten(board)]
    if board == .arm64 || board == .riscv64 { cases += [panic(board), reset(board), timeout(board)] + refused(board) }
    return cases
  }

  private static func interruptController(_ board: Board) -> String {
    switch board {
    case .arm64: "GICv3"
    case .arm64GICv2, .arm64Pages16K: "GICv2"
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
      timeout 90 swiftlet run --verbose --linux ../Image --initrd ../initrd --append quiet --append last=word --cpus 2 \\
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
      board, "run --linux without an initrd", script: "timeout 90 swiftlet run --linux ../Image.gz --append loglevel=1",
      status: 134,
      output: .containing(["Kernel panic - not syncing"]),
      errors: .pattern("swiftlet: \\.\\./Image\\.gz: kernel panic: VFS: Unable to mount root fs on [^\n]*\n"))
  }

  private static func reset(_ board: Board) -> Case {
    Case(
      board, "run --linux with a reset",
      script: "timeout 90 swiftlet run --linux ../Image --initrd ../initrd --append 'rdinit=/bin/reboot -- -f'",
      status: 133,
      output: .containing(["Linux version", "reboot: Restarting system"]),
      errors: "swiftlet: ../Image: asked for a reset\n")
  }

  private static func timeout(_ board: Board) -> Case {
    Case(
      board, "run --linux with a time limit",
      script: "timeout 90 swiftlet run --timeout 500ms --linux ../Image --append quiet",
      status: 124, errors: "swiftlet: ../Image: still running at its time limit\n")
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

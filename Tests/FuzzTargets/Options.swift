import CLinux

@testable import Commands

extension FuzzTarget {
  /// The command line's words, one a line.
  static let options = FuzzTarget(
    name: "options", door: "options and sizes",
    run: { bytes in
      var words: [String] = ["run"]
      for line in bytes.split(separator: 0x0a, omittingEmptySubsequences: false) {
        words.append(String(decoding: line.prefix { $0 != 0 }, as: UTF8.self))
      }
      guard words.count <= 64 else { return }
      for word in words {
        if let size = parseSize(word) { hold(parseSize("\(size)") == size, "a size is a number of bytes") }
        if let duration = parseDuration(word) { hold(duration >= 0, "no duration is negative") }
      }
      let copies = words.map { strdup($0) }
      defer { for copy in copies { free(copy) } }
      do throws(Failure) {
        let parsed = try parse(copies[...], options: runOptions, command: .run)
        if parsed.options.contains(where: { runOptions[$0.index].long.description == "linux" }) {
          _ = try LinuxRequest(parsed)
        } else {
          _ = try RunRequest(parsed)
        }
      } catch {
        guard case .usage(_, let message) = error else { return }
        hold(!message.isEmpty, "a refusal says why")
      }
    },
    seeds: {
      [
        "--memory\n16M\n--timeout\n1.5s\n--cpu-budget=500ms\nhello.elf\nan argument", "-m\n64G\n-v\n--lockstep\nx",
        "--shadows\n3\n--parallel\n--inject-faults\n5\nx", "--linux\n--cpus\n4\n--disk\na,ro\n--initrd\nb\nvmlinuz",
        "--transport\nmmio\n--no-sandbox\n--call-budget\n9223372036854775807ns\nx", "--help", "18446744073709551615K",
      ].map { Array($0.utf8) }
    })
}

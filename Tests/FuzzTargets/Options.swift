import CLinux
import Control

@testable import Commands

extension FuzzTarget {
  /// The arguments of a command line, one in each line.
  static let options = FuzzTarget(
    name: "options", input: "options and sizes",
    run: { bytes in
      let commands: [Command] = [.run, .start, .daemon, .stop]
      let command = commands[Int((bytes.first ?? 0) & 3)]
      var words: [String] = [command.name.description]
      for line in bytes.dropFirst().split(separator: 0x0a, omittingEmptySubsequences: false) {
        words.append(String(decoding: line.prefix { $0 != 0 }, as: UTF8.self))
      }
      guard words.count <= 64 else { return }
      for word in words {
        if let size = parseSize(word) { hold(parseSize("\(size)") == size, "a size is a number of bytes") }
        if let duration = parseDuration(word) { hold(duration >= 0, "no duration is negative") }
      }
      let copies = words.map { strdup($0) }
      defer { for copy in copies { free(copy) } }
      func take<Arguments: CommandArguments>(_ options: [Option<Arguments>], _ defaults: Arguments) throws(Failure)
        -> Arguments?
      {
        if case .arguments(let arguments) = try parse(copies[...], command, options, defaults) {
          arguments
        } else {
          nil
        }
      }
      do throws(Failure) {
        switch command {
        case .start:
          guard let start = try take(StartArguments.options, StartArguments()) else { return }
          var request = start.request
          hold(request.guest.arguments.count < words.count, "arguments are of the words")
          request.image = "/a"
          // The daemon accepts what the client accepts.
          hold((try? StartRequest(request.json)) != nil, "a request that is sent is one")
        case .daemon: _ = try take(DaemonArguments.options, DaemonArguments())
        case .apply: _ = try take(ApplyArguments.options, ApplyArguments())
        case .stop: _ = try take(AppletArguments.stopOptions, AppletArguments(names: 1...1000))
        default: _ = try take(RunArguments.options, RunArguments())
        }
      } catch {
        guard case .usage(_, let message) = error else { return }
        hold(!message.isEmpty, "a refusal says why")
      }
    },
    seeds: {
      let words = [
        "--memory\n16M\n--timeout\n1.5s\n--cpu-budget=500ms\nhello.elf\nan argument", "-m\n64G\n-v\n--lockstep\nx",
        "--shadows\n3\n--parallel\n--inject-faults\n5\nx", "--linux\n--cpus\n4\n--disk\na,ro\n--initrd\nb\nvmlinuz",
        "--transport\nmmio\n--no-sandbox\n--call-budget\n9223372036854775807ns\nx", "--help", "18446744073709551615K",
      ]
      let others: [(UInt8, String)] = [
        (1, "--name\na\n--restart\non-failure:3\n--restart-delay=2s\n--rpc\nS=unix:/tmp/s\nhello.elf\nx"),
        (1, "-n\n../a\n--shadows=9\n--cpu-budget\n1h\n--rm\n-i\nx"),
        (2, "--group\n4294967296\n--worker-user=0\n--grace\n10s\n--log-format\njson\n--no-sandbox"),
        (3, "--grace\n5s\na\nb\n..."),
      ]
      return words.map { [0] + Array($0.utf8) } + others.map { [$0.0] + Array($0.1.utf8) }
    })
}

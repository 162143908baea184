import CFuzz
import CLinux
import FuzzTargets
import Machine
import Synchronization
import TestSupport

// Runs one fuzz target: fuzz TARGET [OPTION of libFuzzer…] [DIRECTORY…]
//   fuzz --list              the targets, with their inputs
//   fuzz --seeds DIRECTORY   writes their seeds into directories with their names
//   fuzz --code DIRECTORY N  writes N programs of random instructions for arm64 and riscv64 into it: code-1…
// Built with libFuzzer by tools/fuzz, whose main function calls the two below; an ordinary build reports that it has
// none.

@main
enum Fuzz {
  static func main() {
    var count = CommandLine.argc
    var words: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    _ = initialize(&count, &words)
    let status = fuzz_run(count, words)
    if status < 0 { fail("built without libFuzzer: use make fuzz") }
    exit(status)
  }

  /// The target that runs.
  fileprivate static let index = Atomic<Int>(0)

  /// - Returns: whether there is such a target.
  fileprivate static func choose(_ name: String) -> Bool {
    guard let found = FuzzTarget.all.firstIndex(where: { $0.name == name }) else { return false }
    index.store(found, ordering: .relaxed)
    return true
  }

  fileprivate static func writeSeeds(to directory: String) {
    for target in FuzzTarget.all {
      mkdir("\(directory)/\(target.name)", 0o755)
      for (number, seed) in target.seeds().enumerated() { write(seed, "\(directory)/\(target.name)/seed-\(number)") }
    }
  }

  fileprivate static func writeCode(to directory: String, _ count: Int) {
    for architecture in [Architecture.arm64, .riscv64] {
      mkdir("\(directory)/\(architecture.name)", 0o755)
      for number in 0..<max(count, 0) {
        let code = ELFBuilder.random(architecture, seed: UInt64(number))
        write(code.bytes(), "\(directory)/\(architecture.name)/code-\(number + 1)")
      }
    }
  }

  private static func write(_ bytes: [UInt8], _ path: String) {
    let file = linux_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
    guard file >= 0, linux_write(Int32(file), bytes, bytes.count) == bytes.count else { fail("cannot write \(path)") }
    _ = linux_close(Int32(file))
  }

  fileprivate static func fail(_ text: String) -> Never {
    let line = "fuzz: \(text)\n"
    _ = linux_write(2, line, line.utf8.count)
    exit(2)
  }
}

/// Removes the target's name from the arguments: libFuzzer's hook before it parses them.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(
  _ count: UnsafeMutablePointer<Int32>,
  _ words: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>
) -> Int32 {
  // Processes that libFuzzer starts get it from the environment.
  if let name = getenv("SWIFTLET_FUZZ_TARGET"), Fuzz.choose(String(cString: name)) { return 0 }
  guard count.pointee > 1, let list = words.pointee, let word = list[1] else {
    Fuzz.fail("a target is missing; fuzz --list names them")
  }
  switch String(cString: word) {
  case "--list":
    for target in FuzzTarget.all { print("\(target.name)\t\(target.input)") }
    exit(0)
  case "--seeds":
    guard count.pointee > 2, let directory = list[2] else { Fuzz.fail("a directory is missing") }
    Fuzz.writeSeeds(to: String(cString: directory))
    exit(0)
  case "--code":
    guard count.pointee > 3, let directory = list[2], let number = list[3], let number = Int(String(cString: number))
    else {
      Fuzz.fail("a directory and a number are missing")
    }
    Fuzz.writeCode(to: String(cString: directory), number)
    exit(0)
  case let name:
    guard Fuzz.choose(name) else { Fuzz.fail("there is no target '\(name)'; fuzz --list names them") }
    setenv("SWIFTLET_FUZZ_TARGET", name, 1)
  }
  for index in 1..<Int(count.pointee) { list[index] = list[index + 1] }
  count.pointee -= 1
  return 0
}

/// Runs an input: libFuzzer's callback.
@_cdecl("LLVMFuzzerTestOneInput")
public func run(_ data: UnsafePointer<UInt8>?, _ count: Int) -> Int32 {
  FuzzTarget.all[Fuzz.index.load(ordering: .relaxed)].run(UnsafeRawBufferPointer(start: data, count: count))
  return 0
}

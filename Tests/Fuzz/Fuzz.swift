import CFuzz
import CLinux
import FuzzTargets
import Machine
import Synchronization
import TestSupport

// Fuzzes one door: fuzz TARGET [libFuzzer's OPTION…] [FOLDER…]
//   fuzz --list             the targets, with what they try
//   fuzz --seeds FOLDER     writes their seeds into folders of their names
//   fuzz --code FOLDER N    writes N programs of random instructions into arm64 and riscv64 in that folder: code-1…
// Built with libFuzzer by tools/fuzz, whose main function calls the two below; an ordinary build has none, and says so.

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

  /// Which of the targets runs.
  fileprivate static let index = Atomic<Int>(0)

  /// - Returns: whether there is such a target.
  fileprivate static func choose(_ name: String) -> Bool {
    guard let found = FuzzTarget.all.firstIndex(where: { $0.name == name }) else { return false }
    index.store(found, ordering: .relaxed)
    return true
  }

  fileprivate static func writeSeeds(to folder: String) {
    for target in FuzzTarget.all {
      mkdir("\(folder)/\(target.name)", 0o755)
      for (number, seed) in target.seeds().enumerated() { write(seed, "\(folder)/\(target.name)/seed-\(number)") }
    }
  }

  fileprivate static func writeCode(to folder: String, _ count: Int) {
    for architecture in [Architecture.arm64, .riscv64] {
      mkdir("\(folder)/\(architecture.name)", 0o755)
      for number in 0..<max(count, 0) {
        let code = ELFBuilder.random(architecture, seed: UInt64(number))
        write(code.bytes(), "\(folder)/\(architecture.name)/code-\(number + 1)")
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

/// Takes the target's name out of the words: libFuzzer's hook before it reads them.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(
  _ count: UnsafeMutablePointer<Int32>,
  _ words: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>
) -> Int32 {
  // Processes that libFuzzer starts itself are told by the environment.
  if let name = getenv("SWIFTLET_FUZZ_TARGET"), Fuzz.choose(String(cString: name)) { return 0 }
  guard count.pointee > 1, let list = words.pointee, let word = list[1] else {
    Fuzz.fail("a target is missing; fuzz --list names them")
  }
  switch String(cString: word) {
  case "--list":
    for target in FuzzTarget.all { print("\(target.name)\t\(target.door)") }
    exit(0)
  case "--seeds":
    guard count.pointee > 2, let folder = list[2] else { Fuzz.fail("a folder is missing") }
    Fuzz.writeSeeds(to: String(cString: folder))
    exit(0)
  case "--code":
    guard count.pointee > 3, let folder = list[2], let number = list[3], let number = Int(String(cString: number))
    else {
      Fuzz.fail("a folder and a number are missing")
    }
    Fuzz.writeCode(to: String(cString: folder), number)
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

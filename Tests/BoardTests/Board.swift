import Foundation
import Testing

/// An emulated board of boards/list.
enum Board: String, CaseIterable, Sendable {
  case arm64
  case arm64GICv2 = "arm64-gicv2"
  case arm64Pages16K = "arm64-16k"
  case arm64Linux61 = "arm64-6.1"
  case riscv64
  case riscv64AIA = "riscv64-aia"

  /// The architecture's name in Swiftlet and in the build directories.
  var architecture: String { rawValue.hasPrefix("arm64") ? "arm64" : "riscv64" }

  /// Whether boards/list reports it as ready.
  var isAvailable: Bool { Self.available.contains(rawValue) }

  private static let available: Set<String> = {
    guard let run = try? Program.run(Repository.path("boards/list"), ["--available"]) else { return [] }
    return Set(run.output.split(separator: "\n").map(String.init))
  }()
}

enum Repository {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  static func path(_ relative: String) -> String { root.appending(path: relative).path }

  /// The path of a result of the build.
  /// - Throws: `Missing` if it has not been built.
  static func built(_ relative: String) throws -> String {
    let path = path("build/" + relative)
    guard FileManager.default.fileExists(atPath: path) else { throw Missing(file: "build/" + relative) }
    return path
  }

  struct Missing: Error, CustomStringConvertible {
    let file: String
    var description: String {
      "there is no \(file): tools/test builds what tests need, and \"make static guests\" most of it"
    }
  }
}

enum Program {
  struct Result: Sendable {
    let status: Int32
    let output: String
    let errors: String
  }

  /// Runs a program on this machine to its end, without input, or with endless input. Blocks.
  /// - Parameter boots: whether boards/run boots a board even if one is up.
  static func run(_ path: String, _ arguments: [String], keys: String? = nil, boots: Bool = true) throws -> Result {
    try withScratchDirectory { directory in
      // Files instead of pipes, so that two streams need not be read in parallel.
      let output = directory.appending(path: "output"), errors = directory.appending(path: "errors")
      for file in [output, errors] { try Data().write(to: file) }
      let process = Process()
      process.executableURL = URL(filePath: path)
      process.arguments = arguments
      process.environment = ProcessInfo.processInfo.environment
      process.environment?["SWIFTLET_BOARD_BOOT"] = boots ? "yes" : "no"
      let input = Pipe()
      process.standardInput = keys == nil ? FileHandle.nullDevice : input
      process.standardOutput = try FileHandle(forWritingTo: output)
      process.standardError = try FileHandle(forWritingTo: errors)
      try process.run()
      if let keys { try input.fileHandleForWriting.write(contentsOf: Data(keys.utf8)) }
      process.waitUntilExit()
      return Result(
        status: process.terminationStatus, output: String(decoding: try Data(contentsOf: output), as: UTF8.self),
        errors: String(decoding: try Data(contentsOf: errors), as: UTF8.self))
    }
  }
}

/// Creates a directory that is removed after the body.
func withScratchDirectory<Value>(_ body: (URL) throws -> Value) throws -> Value {
  let directory = FileManager.default.temporaryDirectory.appending(path: "swiftlet-tests-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: directory) }
  return try body(directory)
}

/// A program of one C file, compiled for a board; empty if that fails, which is recorded.
func compiled(_ source: String, for board: Board) -> [UInt8] {
  let made = try? withScratchDirectory { directory in
    let program = directory.appending(path: "program").path
    let words = [board.architecture, "--", "-Wall", "-Wextra", "-Werror", "-O1", "-s", "-o", program]
    let run = try Program.run(Repository.path("tools/cross-cc"), words + [Repository.path(source)])
    if run.status != 0 { Issue.record("tools/cross-cc: \(run.errors)") }
    return run.status == 0 ? try [UInt8](Data(contentsOf: URL(filePath: program))) : []
  }
  return made ?? []
}

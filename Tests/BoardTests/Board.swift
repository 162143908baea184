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

  /// The architecture's name, as Swiftlet and the build folders have it.
  var architecture: String { rawValue.hasPrefix("arm64") ? "arm64" : "riscv64" }

  /// Whether boards/list finds it ready to run.
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

  /// The path of what the build makes.
  /// - Throws: `Missing` where it has not been built.
  static func built(_ relative: String) throws -> String {
    let path = path("build/" + relative)
    guard FileManager.default.fileExists(atPath: path) else { throw Missing(file: "build/" + relative) }
    return path
  }

  struct Missing: Error, CustomStringConvertible {
    let file: String
    var description: String { "there is no \(file): \"make test\" builds it, and so does \"make static guests\"" }
  }
}

enum Program {
  struct Result: Sendable {
    let status: Int32
    let output: String
    let errors: String
  }

  /// Runs a program of this machine to its end, without input, or with one that does not end. Blocks.
  static func run(_ path: String, _ arguments: [String], keys: String? = nil) throws -> Result {
    try withScratchFolder { folder in
      // Files, not pipes: nobody has to read two streams at once.
      let output = folder.appending(path: "output"), errors = folder.appending(path: "errors")
      for file in [output, errors] { try Data().write(to: file) }
      let process = Process()
      process.executableURL = URL(filePath: path)
      process.arguments = arguments
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

/// Gives a new folder that goes when the body has ended.
func withScratchFolder<Value>(_ body: (URL) throws -> Value) throws -> Value {
  let folder = FileManager.default.temporaryDirectory.appending(path: "swiftlet-tests-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(at: folder) }
  return try body(folder)
}

/// A program of one file in C, compiled for a board; empty where that fails, which is recorded.
func compiled(_ source: String, for board: Board) -> [UInt8] {
  let made = try? withScratchFolder { folder in
    let program = folder.appending(path: "program").path
    let words = [board.architecture, "--", "-Wall", "-Wextra", "-Werror", "-O1", "-s", "-o", program]
    let run = try Program.run(Repository.path("tools/cross-cc"), words + [Repository.path(source)])
    if run.status != 0 { Issue.record("tools/cross-cc: \(run.errors)") }
    return run.status == 0 ? try [UInt8](Data(contentsOf: URL(filePath: program))) : []
  }
  return made ?? []
}

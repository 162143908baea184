import DeviceTree
import Foundation
import Machine
import Testing

/// The trees that Swiftlet writes, compared with the sources in dts/ and checked with the schemas of dtschema.
struct ReferenceTests {
  @Test(arguments: Machines.all.prefix(Machines.references).indices)
  func generatedTreesMatchTheReferences(index: Int) throws {
    let (name, machine) = Machines.all[index]
    let source = try Data(contentsOf: sources.appending(path: "\(name).dts"))
    let reference = try DTC.run(["-I", "dts", "-O", "dtb", "-"], source)
    #expect(try DTC.source(of: machine.tree()) == DTC.source(of: reference))
  }

  /// Every source is a reference, and these tests include every example.
  @Test func everySourceIsTested() throws {
    let files = try FileManager.default.contentsOfDirectory(atPath: sources.path)
    let names = Set(files.filter { $0.hasSuffix(".dts") })
    #expect(names == Set(Machines.all.prefix(Machines.references).map { "\($0.name).dts" }))
  }

  @Test(.enabled(if: Schemas.isAvailable, Schemas.reason), arguments: Machines.all.indices)
  func generatedTreesMatchTheSchemas(index: Int) throws {
    try Schemas.check(Machines.all[index].machine.tree())
  }

  @Test(.enabled(if: Schemas.isAvailable, Schemas.reason))
  func theSchemasDetectAnError() throws {
    let source = try DTC.source(of: Machines.program(.arm64).tree())
      .replacingOccurrences(of: "method = \"hvc\"", with: "method = \"smoke\"")
    #expect(throws: Schemas.Complaint.self) { try Schemas.check(Data(try DTC.compile(source))) }
  }
}

/// dt-validate of dtschema, with its own schemas and those in dts/schemas.
enum Schemas {
  static let reason: Comment = "there is no dtschema: tools/setup schemas gets it, where PyPI can be reached"

  struct Complaint: Error, CustomStringConvertible {
    let description: String
  }

  static let isAvailable = (try? run(["--available"])) != nil

  static func check(_ tree: Data) throws {
    let file = FileManager.default.temporaryDirectory.appending(path: "swiftlet-\(UUID().uuidString).dtb")
    try tree.write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    try run([file.path])
  }

  private static func run(_ arguments: [String]) throws {
    let process = Process()
    process.executableURL = sources.deletingLastPathComponent().appending(path: "tools/dt-validate")
    process.arguments = arguments
    let output = Pipe()
    (process.standardInput, process.standardOutput, process.standardError) = (FileHandle.nullDevice, output, output)
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Complaint(description: text) }
  }
}

import DeviceTree
import Foundation
import Machine
import Testing

/// The trees that Swiftlet writes, against the sources in dts/.
struct ReferenceTests {
  @Test(arguments: [Architecture.arm64, .riscv64])
  func anAppletsTreeIsTheReference(architecture: Architecture) throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appending(path: "../../dts")
    let source = folder.appending(path: "applet-\(architecture.name).dts")
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["dtc", "-E", "unit_address_vs_reg", "-I", "dts", "-O", "dtb", source.path]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let reference = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    #expect(try decompile(Machines.applet(architecture).tree()) == decompile(reference))
  }
}

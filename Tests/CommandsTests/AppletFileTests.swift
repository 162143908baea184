import Control
import Foundation
import JSON
import Launch
import Monitor
import Platform
import Testing

@testable import Commands

/// Files that declare applets.
struct AppletFileTests {
  private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()

  private func withFile<Result>(_ text: String, name: String = "one.json", _ body: (AppletFile) throws -> Result) throws
    -> Result
  {
    let directory = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let path = directory.appending(path: name).path
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    return try body(try AppletFile(path, in: "/etc/applets"))
  }

  private func request(_ text: String) throws -> StartRequest { try withFile(text) { try $0.request() } }

  /// The error message, without the path, if the file is invalid.
  private func refusal(_ text: String) throws -> String? {
    try withFile(text) { file in
      do {
        _ = try file.request()
        return nil
      } catch Failure.failed(.refused, let message) {
        #expect(message.hasPrefix(file.path + ":"))
        return String(message.dropFirst(file.path.count + 1))
      }
    }
  }

  @Test func allMembersAreTaken() throws {
    let digest = "sha256:" + String(repeating: "0A", count: 32)
    let request = try request(
      """
      {
        "$schema": "../applet.schema.json", "name": "one", "image": "a.elf", "digest": "\(digest)",
        "arguments": ["a", "ä"], "services": [{"name": "Led", "address": "unix:/run/led"}], "rpc_limit": 2048,
        "memory": 2097152, "layout": "contiguous", "clint": false, "copies": 2, "parallel": true, "input": true,
        "restart": {"policy": "on_failure", "limit": 3, "delay": 50}, "limits": {"deadline": 5000, "cpu_percent": 50},
        "debug": true, "remove": true, "secure": true, "cpus": 1
      }
      """)
    #expect(request.name == "one" && request.image == "/etc/applets/a.elf" && request.digest == ImageDigest(digest))
    #expect(request.guest.arguments == ["a", "ä"] && request.services.map(\.path) == ["/run/led"])
    #expect(request.guest.memory == 2 << 20 && request.guest.rpcLimit == 2048 && request.guest.layout == .contiguous)
    #expect(request.guest.copies?.count == 2 && request.guest.copies?.isParallel == true)
    #expect(request.restart.when == .onFailure && request.restart.limit == 3 && request.restart.delay == 50)
    #expect(request.guest.limits.deadline == 5_000_000_000 && request.guest.limits.cpuPercent == 50)
    #expect(request.hasInput && request.isDebug && request.isRemoved && request.declared == nil)
    #expect(try self.request(#"{"image":"/bin/a"}"#).image == "/bin/a")
  }

  @Test(arguments: [
    ("", "1:1: '[' or '{' expected near end of file"),
    (#"{"image":"a"} x"#, "1:15: end of file expected near 'x'"),
    ("{\"image\":\"a\",\n  \"image\":\"b\"}", "2:9: duplicate object key near '\"image\"'"),
    ("[]", "1:1: must be an object"),
    ("{\n}", #"1:1: "image" is missing: give the path of the applet's ELF file"#),
    (#"{"image":1}"#, #"1:2: "image" must be the path of an ELF file"#),
    (#"{"image":"a","name":"two"}"#, #"1:14: "name" must be "one", as the file's name says, or missing"#),
    (
      "{\"image\":\"a\",\n\t\"limits\":{ \"threads\":0 }}",
      "2:13: \"threads\" must be a number of threads from 1 to 10000"
    ),
    (
      #"{"image":"a","services":[{"name":"A","address":"unix:/a"}],"name":1}"#,
      #"1:60: "name" must be "one", as the file's name says, or missing"#
    ),
    (
      #"{"image":"ä","restart":{"delay":1}}"#, #"1:1: "policy" must be "no", "on_failure" or "always""#
    ),
    (
      #"{"image":"ä","restart":{"policy":"never"}}"#, #"1:25: "policy" must be "no", "on_failure" or "always""#
    ),
    (
      #"{"image":"a","restart":{"police":"no"}}"#,
      #"1:25: "police" is not known in "restart": there are policy, limit, delay"#
    ),
    (
      #"{"image":"a","digest":"sha1:00"}"#, #"1:14: "digest" must be "sha256:" and the 64 digits that sha256sum prints"#
    ),
    (#"{"image":"a","parallel":true}"#, #"1:14: "parallel" must be true or false, and needs "copies""#),
    (
      #"{"image":"a","cpus":2}"#,
      #"1:14: "cpus" must be a number of CPUs from 1 to 512; more than one need "secure": false"#
    ),
  ])
  func errorsSayWhereAndWhat(text: String, message: String) throws { #expect(try refusal(text) == message) }

  /// Every member that can have a wrong value is told what it must be.
  @Test func everyMemberHasAnAdvice() throws {
    for member in AppletFile.members where !["$schema", "name", "image"].contains(member) {
      let message = try #require(try refusal(#"{"image":"a","\#(member)":"*"}"#), "\(member)")
      #expect(message.hasPrefix(#"1:14: "\#(member)" must be "#) && !message.hasSuffix("another value"), "\(message)")
    }
    for (parent, members) in [("limits", AppletFile.limitMembers), ("restart", AppletFile.restartMembers)] {
      for member in members {
        let rest = parent == "restart" && member != "policy" ? #""policy":"no","# : ""
        let message = try #require(try refusal(#"{"image":"a","\#(parent)":{\#(rest)"\#(member)":"*"}}"#))
        #expect(message.contains(#"\#(member)" must be "#) && !message.hasSuffix("another value"), "\(message)")
      }
    }
  }

  @Test func parametersOfTheProtocolAreNoMembers() throws {
    for member in ["image_descriptor", "image_uploaded", "replace", "declared"] {
      #expect(
        try refusal(#"{"image":"a","\#(member)":null}"#)?.hasPrefix(#"1:14: "\#(member)" is not known: "#) == true)
    }
  }

  @Test func theNameOfTheFileIsTheApplets() throws {
    for name in [
      "one.txt", "one", ".json", ".one.json", "a b.json", "-a.json", String(repeating: "a", count: 65) + ".json",
    ] {
      #expect(throws: Failure.self, "\(name)") { try AppletFile("/tmp/" + name, in: "/tmp") }
    }
    #expect(try AppletFile("a.b-1.json", in: "/tmp").name == "a.b-1")
  }

  @Test func directoriesAndFiles() throws {
    let directory = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    for name in ["b.json", "a.json", ".hidden.json", "a.json~", "README", "no name.json"] {
      try Data("{}".utf8).write(to: directory.appending(path: name))
    }
    let link = directory.path + "-link"
    try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: directory.path)
    defer { try? FileManager.default.removeItem(atPath: link) }
    var files = AppletFiles()
    var complaints = 0
    try files.add(link, { _ in complaints += 1 })
    try files.add(directory.path + "/a.json", { _ in complaints += 1 })
    #expect(files.files.map(\.name) == ["a", "b"] && complaints == 1)
    #expect(files.directories.count == 1 && files.directories.first?.hasSuffix(directory.lastPathComponent) == true)
    #expect(files.files.allSatisfy { $0.directory == files.directories.first && $0.path.hasPrefix(link) })
    #expect(throws: Failure.self) { try files.add(directory.path + "/none", { _ in }) }
  }

  // MARK: The schema

  private func schema() throws -> [String: Any] {
    let data = try Data(contentsOf: Self.root.appending(path: "share/swiftlet/applet.schema.json"))
    return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
  }

  private func properties(_ schema: Any?) throws -> [String: [String: Any]] {
    try #require((schema as? [String: Any])?["properties"] as? [String: [String: Any]])
  }

  /// The names of the fields of a type, or of a method's parameters, in the interface.
  private func fields(_ declaration: String) throws -> Set<String> {
    let text = try String(
      contentsOf: Self.root.appending(path: "share/varlink/org.swiftlet.Control.varlink"), encoding: .utf8)
    let body =
      try #require(text.split(separator: "\n\(declaration)").dropFirst().first).split(separator: "\n)").first ?? ""
    return Set(body.matches(of: #/([a-z_]+): /#).map { String($0.1) })
  }

  @Test func schemaAndFileHaveTheParametersOfStart() throws {
    let properties = try properties(schema())
    #expect(Set(properties.keys) == Set(AppletFile.members))
    let start = try fields("method Start(")
    #expect(
      start.subtracting(["image_descriptor", "image_uploaded", "replace", "declared"]).union(["$schema"])
        == Set(AppletFile.members))
    for (name, type, members) in [
      ("restart", "type Restart (", AppletFile.restartMembers), ("limits", "type Limits (", AppletFile.limitMembers),
    ] {
      #expect(try Set(self.properties(properties[name]).keys) == Set(members))
      #expect(try fields(type) == Set(members))
    }
    let service = try self.properties(properties["services"]?["items"])
    #expect(Set(service.keys) == Set(AppletFile.serviceMembers))
    #expect(try fields("type Service (") == Set(AppletFile.serviceMembers))
    for (name, property) in properties {
      #expect(name == "limits" || name == "services" || property["description"] is String, "\(name)")
    }
  }

  @Test func schemaHasTheRangesAndDefaults() throws {
    let properties = try properties(schema())
    let limits = try self.properties(properties["limits"])
    for (property, field, kind) in [
      (properties["memory"], GuestField.memory, GuestKind.applet), (properties["rpc_limit"], .rpcLimit, .applet),
      (properties["cpus"], .cpus, .program), (limits["process_memory"], .processMemory, .applet),
      (limits["cpu_percent"], .cpuPercent, .applet), (limits["threads"], .threads, .applet),
    ] {
      let range = field.range(for: kind)
      #expect(
        property?["minimum"] as? UInt64 == range.lowerBound && property?["maximum"] as? UInt64 == range.upperBound)
    }
    // 0 means none.
    #expect(properties["copies"]?["maximum"] as? UInt64 == GuestField.copies.range(for: .applet).upperBound)
    #expect(properties["memory"]?["default"] as? UInt64 == GuestSpec().memory)
    #expect(properties["rpc_limit"]?["default"] as? Int == GuestSpec().rpcLimit)
  }
}

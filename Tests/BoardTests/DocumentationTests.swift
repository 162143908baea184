import Foundation
import Testing

/// The pages in Markdown.
struct DocumentationTests {
  private static let pages =
    ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]
    + ["docs", "guests", "examples", "tools", "Tests", "Sources/Monitor/Monitor.docc"].flatMap { directory in
      let names = try? FileManager.default.contentsOfDirectory(atPath: Repository.path(directory))
      return (names ?? []).filter { $0.hasSuffix(".md") }.sorted().map { "\(directory)/\($0)" }
    }

  private func text(_ page: String) throws -> String {
    try String(contentsOfFile: Repository.path(page), encoding: .utf8)
  }

  @Test(arguments: pages)
  func linksReferToFiles(_ page: String) throws {
    let directory = Repository.root.appending(path: page).deletingLastPathComponent()
    for match in try text(page).matches(of: #/\]\(([^)#]+)[^)]*\)/#) where !match.1.hasPrefix("https://") {
      let file = directory.appending(path: String(match.1)).standardizedFileURL
      #expect(FileManager.default.fileExists(atPath: file.path), "\(page) links to \(match.1)")
    }
  }

  /// The index lists each page, and the first lines of each page say for whom it is.
  @Test(arguments: pages.filter { $0.hasPrefix("docs/") && $0 != "docs/README.md" })
  func pagesSayForWhomTheyAre(_ page: String) throws {
    let paragraph = try text(page).components(separatedBy: "\n\n")[1]
    #expect(paragraph.hasPrefix("For "), "\(page) begins with: \(paragraph)")
    #expect(try text("docs/README.md").contains("](\(page.dropFirst("docs/".count)))"))
  }

  @Test func picturesFollowTheColourScheme() throws {
    let directory = Repository.path("docs/images")
    for name in try FileManager.default.contentsOfDirectory(atPath: directory) where name.hasSuffix(".svg") {
      #expect(try text("docs/images/\(name)").contains("prefers-color-scheme: dark"), "\(name)")
    }
  }
}

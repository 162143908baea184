// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "embed",
  // Outside this repository: .package(url: "…/swiftlet", branch: "main").
  dependencies: [.package(name: "swiftlet", path: "../..")],
  targets: [.executableTarget(name: "embed", dependencies: [.product(name: "Monitor", package: "swiftlet")])]
)

// swift-tools-version: 6.2
import PackageDescription

let package = Package(
  name: "Applet",
  products: [.library(name: "Applet", targets: ["Applet"])],
  targets: [
    .systemLibrary(name: "CApplet"),
    .target(
      name: "Applet", dependencies: ["CApplet"],
      swiftSettings: [
        .enableExperimentalFeature("Embedded"), .enableExperimentalFeature("Lifetimes"),
        .unsafeFlags(["-wmo", "-Xfrontend", "-function-sections", "-Xfrontend", "-disable-stack-protector"]),
      ]),
  ])

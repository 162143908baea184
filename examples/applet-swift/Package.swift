// swift-tools-version: 6.2
import PackageDescription

// "make" sets both; this is for editors.
let sdk = Context.environment["SWIFTLET_SDK"] ?? "/usr/local/lib/swiftlet"
let architecture = Context.environment["SWIFTLET_ARCH"] ?? "arm64"

// Checks and their messages as in a debug build: without them a trap has no text.
let compile = [
  "-wmo", "-assert-config", "Debug", "-Xfrontend", "-function-sections", "-Xfrontend", "-disable-stack-protector",
]
let link =
  ["-nostdlib", "-static", "-L\(sdk)", "-L\(sdk)/\(architecture)"].flatMap { ["-Xclang-linker", $0] }
  + [
    "-use-ld=lld", "-Xlinker", "-T", "-Xlinker", "applet.ld", "-Xlinker", "--defsym=IMAGE_BASE=0x80000000",
    "-Xlinker", "--gc-sections", "-Xlinker", "-zmax-page-size=4096", "-Xlinker", "-znorelro", "-Xlinker",
    "-znoexecstack",
    "-lswiftUnicodeDataTables", "-lapplet", "-lgcc",
  ]

let package = Package(
  name: "primes",
  dependencies: [.package(name: "Applet", path: sdk + "/swift")],
  targets: [
    .executableTarget(
      name: "primes", dependencies: ["Applet"], path: "Sources",
      swiftSettings: [.enableExperimentalFeature("Embedded"), .unsafeFlags(compile)],
      linkerSettings: [.unsafeFlags(link)])
  ])

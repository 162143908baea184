// swift-tools-version: 6.2
// One target for each layer; a target depends only on targets above it in this list (ARCHITECTURE.md).
import Foundation
import PackageDescription

// Without these headers each module that needs them would report an error of its own.
let isIncluded = { (header: String) in
  ["/usr/include", "/usr/local/include"].contains { FileManager.default.fileExists(atPath: "\($0)/\(header)") }
}
if !["libfdt.h", "jansson.h", "zlib.h"].allSatisfy(isIncluded) && Context.environment["CPATH"] == nil {
  let message = "Swiftlet needs three C libraries: sudo apt-get install libfdt-dev libjansson-dev zlib1g-dev\n"
  FileHandle.standardError.write(Data(message.utf8))
  exit(1)
}

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableExperimentalFeature("Lifetimes"),
]

/// Code that is executed for commands, not for calls, is optimized for size. Targets of library products cannot have this flag.
let small: [SwiftSetting] = strict + [.unsafeFlags(["-Osize"], .when(configuration: .release))]

/// The same, for modules that only the module Commands uses. Embedded Swift compiles functions of other modules once more in each
/// module that uses them. The static executable has those of Commands, so that it needs no code of these (tools/cross-build).
#if compiler(>=6.3)
  let compiledInCommands: [SwiftSetting] =
    Context.environment["SWIFTLET_EMBEDDED"] == nil
    ? small : small + [.unsafeFlags(["-Xfrontend", "-emit-empty-object-file"])]
#else
  let compiledInCommands = small
#endif

let package = Package(
  name: "swiftlet",
  products: [
    .executable(name: "swiftlet", targets: ["swiftlet"]),
    .library(name: "Monitor", targets: ["Monitor", "Applet", "DeviceTree", "KVM", "Machine", "Platform"]),
  ],
  targets: [
    .target(name: "CLinux"),
    .systemLibrary(name: "CLibFDT", providers: [.apt(["libfdt-dev"])]),
    .systemLibrary(name: "CJansson", providers: [.apt(["libjansson-dev"])]),
    .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
    .target(name: "JSON", dependencies: ["CJansson", "CLinux"], swiftSettings: strict),
    .target(name: "AppletABI"),
    .target(name: "Platform", dependencies: ["CLinux"], swiftSettings: strict),
    // The directory Shims has the assembly source, from which tools/shims generates arrays of words.
    .target(name: "Machine", dependencies: ["AppletABI"], exclude: ["Shims"], swiftSettings: strict),
    .target(name: "KVM", dependencies: ["CLinux", "Platform", "Machine"], swiftSettings: strict),
    .target(name: "DeviceTree", dependencies: ["CLibFDT", "AppletABI", "Machine"], swiftSettings: strict),
    .target(
      name: "Applet", dependencies: ["AppletABI", "CLinux", "Platform", "Machine", "DeviceTree"],
      swiftSettings: strict),
    .target(name: "Devices", dependencies: ["CLinux", "Platform"], swiftSettings: strict),
    .target(
      name: "Monitor",
      dependencies: [
        "AppletABI", "CLinux", "CZlib", "JSON", "Platform", "Machine", "KVM", "DeviceTree", "Applet", "Devices",
      ],
      swiftSettings: strict),
    .target(
      name: "Launch", dependencies: ["CLinux", "Platform", "Machine", "KVM", "DeviceTree", "Applet", "Monitor"],
      swiftSettings: compiledInCommands),
    .target(name: "CInterface"),
    .target(
      name: "Control", dependencies: ["CInterface", "JSON", "Platform", "Launch"], swiftSettings: compiledInCommands),
    .target(
      name: "Supervisor",
      dependencies: ["CLinux", "JSON", "Platform", "Machine", "KVM", "Applet", "Monitor", "Launch", "Control"],
      swiftSettings: compiledInCommands),
    .target(name: "CBaseline", dependencies: ["CLinux", "AppletABI"]),
    .target(
      name: "Benchmark",
      dependencies: [
        "AppletABI", "CBaseline", "CLinux", "JSON", "Platform", "Machine", "KVM", "Applet", "Monitor", "Launch",
        "Control", "Supervisor",
      ],
      swiftSettings: compiledInCommands),
    .target(
      name: "Commands",
      dependencies: [
        "Benchmark", "CBaseline", "CLinux", "JSON", "Platform", "Machine", "KVM", "DeviceTree", "Applet", "Monitor",
        "Launch",
        "Control", "Supervisor",
      ],
      swiftSettings: small),
    .executableTarget(name: "swiftlet", dependencies: ["Commands"], swiftSettings: small),
    .testTarget(name: "PlatformTests", dependencies: ["Platform", "TestSupport"], swiftSettings: strict),
    .testTarget(name: "DevicesTests", dependencies: ["CLinux", "Devices", "Platform"], swiftSettings: strict),
    .testTarget(name: "MachineTests", dependencies: ["Machine", "TestSupport"], swiftSettings: strict),
    .testTarget(
      name: "AppletTests", dependencies: ["Applet", "AppletABI", "CLinux", "Machine", "Platform", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "KVMTests", dependencies: ["CLinux", "KVM", "Machine", "Platform", "TestSupport"], swiftSettings: strict),
    .testTarget(
      name: "MonitorTests",
      dependencies: [
        "AppletABI", "CLinux", "CZlib", "JSON", "Platform", "Machine", "KVM", "DeviceTree", "Applet", "Monitor",
        "TestSupport",
      ],
      exclude: ["Transcripts"], swiftSettings: strict),
    .testTarget(
      name: "LaunchTests", dependencies: ["CLinux", "Launch", "Machine", "Monitor", "Platform"], swiftSettings: strict),
    .testTarget(name: "ControlTests", dependencies: ["Control", "JSON", "Launch"], swiftSettings: strict),
    .testTarget(
      name: "SupervisorTests",
      dependencies: ["CLinux", "Control", "JSON", "Launch", "Machine", "Monitor", "Platform", "Supervisor"],
      swiftSettings: strict),
    .testTarget(
      name: "BenchmarkTests", dependencies: ["Benchmark", "CBaseline", "CLinux", "JSON", "Machine", "Platform"],
      swiftSettings: strict),
    // Some of them run the program, which is in the directory of the tests.
    .testTarget(
      name: "CommandsTests",
      dependencies: [
        "CLinux", "Commands", "Control", "JSON", "Launch", "Machine", "Monitor", "Platform", "TestSupport", "swiftlet",
      ],
      swiftSettings: strict),
    .testTarget(name: "DeviceTreeTests", dependencies: ["DeviceTree", "Machine"], swiftSettings: strict),
  ]
)

// "swift build" builds only the product, and "swift test" runs the unit tests. With SWIFTLET_TESTS, which tools/test sets, there are
// more targets: "quick" adds the tests that need cross-compiled programs and boards, "check" also the programs that only make check
// runs, and their tests.
let support: [Target.Dependency] = ["AppletABI", "CLinux", "Platform", "Machine"]
let depth = Context.environment["SWIFTLET_TESTS"]
if depth != nil {
  package.targets += [
    .target(name: "TestSupport", dependencies: support, path: "Tests/TestSupport", swiftSettings: strict),
    // Runs the cross-compiled program on emulated boards: needs build/ARCH, which make test builds.
    .testTarget(name: "BoardTests", dependencies: ["Machine", "TestSupport"], swiftSettings: strict),
  ]
} else {
  package.targets += [
    // A test target, so that "swift build" does not include it.
    .testTarget(name: "TestSupport", dependencies: support, path: "Tests/TestSupport", swiftSettings: strict),
    // Reports which tests are left out.
    .testTarget(name: "LeftOutTests", swiftSettings: strict),
  ]
}
if depth == "check" {
  package.targets += [
    // A program that embeds the monitor, for tests on boards; not part of the product.
    .target(name: "CExercise", path: "Tests/CExercise"),
    .executableTarget(
      name: "exercise",
      dependencies: [
        "AppletABI", "CExercise", "CLinux", "Platform", "Machine", "KVM", "DeviceTree", "Applet", "Monitor",
      ],
      path: "Tests/Exercise", swiftSettings: strict,
      // Counts allocations: CExercise has the functions that replace these.
      linkerSettings: [
        .unsafeFlags(
          ["malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"].flatMap { ["-Xlinker", "--wrap=\($0)"] })
      ]),
    // Makes each call of the kernel fail in turn: a separate program, whose calls of the C library go through CFaults.
    .target(name: "CFaults", path: "Tests/CFaults"),
    .executableTarget(
      name: "faults",
      dependencies: [
        "AppletABI", "Applet", "CFaults", "CLinux", "Control", "Devices", "JSON", "KVM", "Launch", "Machine", "Monitor",
        "Platform", "Supervisor", "TestSupport",
      ],
      path: "Tests/Faults", swiftSettings: strict),
    // Runs this program; it is not linked to it, since calls of all tests would then go through CFaults.
    .testTarget(name: "KernelFaultTests", swiftSettings: strict),
    // The fuzz targets, the program that tools/fuzz builds from them with libFuzzer, and the corpus.
    .target(name: "CFuzz", path: "Tests/CFuzz"),
    .target(
      name: "FuzzTargets",
      dependencies: [
        "AppletABI", "Applet", "CFuzz", "CLinux", "Control", "DeviceTree", "Devices", "JSON", "KVM", "Launch",
        "Machine", "Monitor", "Platform", "Supervisor", "TestSupport", "Commands",
      ],
      path: "Tests/FuzzTargets", swiftSettings: strict),
    .executableTarget(
      name: "fuzz", dependencies: ["CFuzz", "CLinux", "FuzzTargets", "Machine", "TestSupport"], path: "Tests/Fuzz",
      swiftSettings: strict),
    .testTarget(
      name: "FuzzTests", dependencies: ["FuzzTargets", "TestSupport"], exclude: ["corpus"], swiftSettings: strict),
  ]
}

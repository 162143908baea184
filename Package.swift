// swift-tools-version: 6.2
// One target per room of the house; a target depends only on targets above it in this list (docs: README, "The house").
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableExperimentalFeature("Lifetimes"),
]

/// What runs at commands, not at calls, is made small rather than fast. No target that a library product has may say so.
let small: [SwiftSetting] = strict + [.unsafeFlags(["-Osize"], .when(configuration: .release))]

/// What the command line needs.
let commandRooms: [Target.Dependency] = [
  "Benchmark", "CFloor", "CLinux", "JSON", "Platform", "Machine", "KVM", "DeviceTree", "Applet", "Monitor",
  "Control", "Supervisor",
]

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
    .target(name: "Machine", dependencies: ["AppletABI", "Platform"], swiftSettings: strict),
    .target(name: "KVM", dependencies: ["CLinux", "Platform", "Machine"], swiftSettings: strict),
    .target(name: "DeviceTree", dependencies: ["CLibFDT", "AppletABI", "Platform", "Machine"], swiftSettings: strict),
    .target(
      name: "Applet", dependencies: ["CLinux", "CZlib", "Platform", "Machine", "DeviceTree"], swiftSettings: strict),
    .target(
      name: "Devices", dependencies: ["CLinux", "Platform", "Machine", "Applet"], swiftSettings: strict),
    .target(
      name: "Monitor",
      dependencies: ["AppletABI", "CLinux", "JSON", "Platform", "Machine", "KVM", "DeviceTree", "Applet", "Devices"],
      swiftSettings: strict),
    .target(name: "CInterface"),
    .target(name: "Control", dependencies: ["CInterface", "JSON"], swiftSettings: small),
    .target(
      name: "Supervisor",
      dependencies: ["CLinux", "JSON", "Platform", "Machine", "KVM", "DeviceTree", "Applet", "Monitor", "Control"],
      swiftSettings: small),
    .target(name: "CFloor", dependencies: ["CLinux", "AppletABI"]),
    .target(
      name: "Benchmark",
      dependencies: [
        "AppletABI", "CFloor", "CLinux", "JSON", "Platform", "Machine", "KVM", "Applet", "Monitor", "Control",
        "Supervisor",
      ],
      swiftSettings: small),
    .executableTarget(
      name: "swiftlet",
      dependencies: commandRooms,
      swiftSettings: small),
    .target(
      name: "TestSupport", dependencies: ["AppletABI", "CLinux", "Platform", "Machine"], path: "Tests/TestSupport",
      swiftSettings: strict),
    .testTarget(name: "PlatformTests", dependencies: ["Platform", "TestSupport"], swiftSettings: strict),
    .testTarget(name: "DevicesTests", dependencies: ["CLinux", "Devices", "Platform"], swiftSettings: strict),
    .testTarget(
      name: "MachineTests", dependencies: ["Machine", "TestSupport"], exclude: ["Shims"], swiftSettings: strict),
    .testTarget(
      name: "AppletTests", dependencies: ["Applet", "CLinux", "CZlib", "Machine", "Platform", "TestSupport"],
      swiftSettings: strict),
    .testTarget(
      name: "KVMTests", dependencies: ["CLinux", "KVM", "Machine", "Platform", "TestSupport"], swiftSettings: strict),
    .testTarget(
      name: "MonitorTests",
      dependencies: ["AppletABI", "CLinux", "JSON", "Platform", "Machine", "KVM", "Applet", "Monitor", "TestSupport"],
      exclude: ["Transcripts"], swiftSettings: strict),
    .testTarget(name: "ControlTests", dependencies: ["Control", "JSON"], swiftSettings: strict),
    .testTarget(
      name: "SupervisorTests",
      dependencies: ["CLinux", "Control", "JSON", "Machine", "Monitor", "Platform", "Supervisor"],
      swiftSettings: strict),
    .testTarget(
      name: "BenchmarkTests", dependencies: ["Benchmark", "CFloor", "CLinux", "JSON", "Machine", "Platform"],
      swiftSettings: strict),
    .testTarget(
      name: "swiftletTests",
      dependencies: ["CLinux", "Machine", "Monitor", "Platform", "TestSupport", "swiftlet"], swiftSettings: strict),
    // A program that embeds the monitor, for tests on boards; not part of the product.
    .target(name: "CExercise", path: "Tests/CExercise"),
    .executableTarget(
      name: "exercise",
      dependencies: [
        "AppletABI", "CExercise", "CLinux", "Platform", "Machine", "KVM", "DeviceTree", "Applet", "Monitor",
      ],
      path: "Tests/Exercise", swiftSettings: strict,
      // Allocations are counted: CExercise has what these names are turned into.
      linkerSettings: [
        .unsafeFlags(
          ["malloc", "calloc", "realloc", "aligned_alloc", "posix_memalign"].flatMap { ["-Xlinker", "--wrap=\($0)"] })
      ]),
    .testTarget(name: "DeviceTreeTests", dependencies: ["DeviceTree", "Machine"], swiftSettings: strict),
    // Makes each call of the kernel fail in turn: a program of its own, whose C library's calls go through CFaults.
    .target(name: "CFaults", path: "Tests/CFaults"),
    .executableTarget(
      name: "faults",
      dependencies: [
        "AppletABI", "Applet", "CFaults", "CLinux", "Control", "Devices", "JSON", "KVM", "Machine", "Monitor",
        "Platform",
        "Supervisor", "TestSupport",
      ],
      path: "Tests/Faults", swiftSettings: strict),
    // It runs the program, which every build makes: linked to it, all tests would make their calls through CFaults.
    .testTarget(name: "KernelFaultTests", swiftSettings: strict),
    // What fuzzers do to each door, the program that tools/fuzz builds of it with libFuzzer, and the inputs that were kept.
    .target(name: "CFuzz", path: "Tests/CFuzz"),
    // The command line once more, as a library: what is an executable can be linked to tests alone.
    .target(
      name: "Commands", dependencies: commandRooms, path: "Tests/Commands", exclude: ["Main.swift"],
      swiftSettings: strict),
    .target(
      name: "FuzzTargets",
      dependencies: [
        "AppletABI", "Applet", "CFuzz", "CLinux", "Control", "DeviceTree", "Devices", "JSON", "KVM", "Machine",
        "Monitor", "Platform", "Supervisor", "TestSupport", "Commands",
      ],
      path: "Tests/FuzzTargets", swiftSettings: strict),
    .executableTarget(
      name: "fuzz", dependencies: ["CFuzz", "CLinux", "FuzzTargets", "Machine", "TestSupport"], path: "Tests/Fuzz",
      swiftSettings: strict),
    .testTarget(
      name: "FuzzTests", dependencies: ["FuzzTargets", "TestSupport"], exclude: ["corpus"], swiftSettings: strict),
    // Runs the cross-compiled program on emulated boards: needs build/ARCH, which make test builds.
    .testTarget(name: "BoardTests", dependencies: ["Machine", "TestSupport"], swiftSettings: strict),
  ]
)

import Applet
import AppletABI
import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport

/// Programs in system mode, alone and with a peer.
extension Path {
  /// The start address of the test applet's file, and thus of the program.
  private static let programEntry: UInt64 = 0x8000_0040

  static var systemStart: Path {
    Path(name: "system mode: start", variants: Variant.systemMode) { kernel, variant, stage throws(PathError) in
      stage.begin()
      let context = try makeProgram(kernel, variant, stage)
      return "\(context.memory.regions.count) regions"
    }
  }

  static var systemRun: Path {
    Path(name: "system mode: run", variants: Variant.systemMode) { kernel, variant, stage throws(PathError) in
      stage.input("some input")
      let context = try makeProgram(kernel, variant, stage)
      context.deadline = Clock.monotonic + 600_000_000_000
      let heap = context.memory.regions.first { $0.use == .heap }?.range.lowerBound ?? 0
      let steps = everySystemCall(heap: heap)
      kernel.program = { guest in
        // The second CPU makes calls, too, and then repeats its last step until the end.
        guard guest.cpu.number == 0 else {
          return guest.entry < 3 ? guest.systemCall(APPLET_CALL_YIELD) : guest.spin(pc: programEntry)
        }
        return guest.entry < steps.count ? steps[guest.entry](guest) : -Int(ENODATA)
      }
      stage.begin()
      return try finish(context, stage)
    }
  }

  static var systemStop: Path {
    Path(name: "system mode: stop and run on", variants: Variant.systemMode) {
      kernel, variant, stage throws(PathError) in
      let context = try makeProgram(kernel, variant, stage)
      kernel.program = { $0.spin(pc: programEntry) }
      stage.begin()
      return try stopAndRunOn(context, stage) {
        kernel.program = { guest in
          guest.cpu.number == 0 ? guest.systemCall(APPLET_CALL_EXIT_STATUS, 3) : guest.spin(pc: programEntry)
        }
      }
    }
  }

  static var worlds: Path {
    Path(name: "system mode: with a peer", variants: Variant.systemMode) { kernel, variant, stage throws(PathError) in
      // Its creation is covered by "system mode: start". Without the filter, whose setup may fail, it cannot make
      // calls.
      let context = try makeProgram(kernel, variant, stage, cpus: 1)
      stage.begin()
      kernel.runsApplets = true
      let applet = try makeContext(kernel, variant, stage)
      var ends: [ExecError] = []
      do throws(AttachError) {
        try context.attach(applet) { _, result in if case .failure(let error) = result { ends.append(error) } }
      } catch { throw .attach(error) }
      let heap = applet.memory.layout.heap.lowerBound
      let steps: [[(Guest) -> Int]] = [
        [
          { $0.systemCall(APPLET_CALL_YIELD) }, { $0.systemCall(APPLET_CALL_SECURE, 7, 8) },
          { $0.systemCall(APPLET_CALL_SECURE, 9, 10) }, { $0.systemCall(APPLET_CALL_EXIT_STATUS, 3) },
        ],
        [
          { $0.call(APPLET_CALL_NANOTIME) }, { $0.call(APPLET_CALL_YIELD) }, { $0.call(APPLET_CALL_SERVE, 1, heap) },
          { $0.call(APPLET_CALL_GETRANDOM, heap + 64, 16) }, { $0.call(APPLET_CALL_SERVE, 2, heap) },
          { $0.call(APPLET_CALL_SERVE, 3, heap) },
        ],
      ]
      kernel.program = { guest in
        let own = steps[guest.cpu.number]
        return guest.entry < own.count ? own[guest.entry](guest) : -Int(ENODATA)
      }
      let outcome = try finish(context, stage)
      // An applet that fails ends alone: the program must continue.
      if let end = ends.first { throw .exec(end) }
      return outcome
    }
  }

  private static func makeProgram(
    _ kernel: ScriptedKernel, _ variant: Variant, _ stage: Stage, cpus: Int = 2
  ) throws(PathError) -> ExecCtx {
    kernel.runsApplets = false
    var options = ExecCtx.Options()
    options.arguments = ["os.elf", "argument"]
    options.cpus = cpus
    options.input = stage.input
    options.output = stage.output
    let image: AppletImage
    do { image = try AppletImage(path: stage.image(variant), architecture: variant.architecture, kernel: kernel) } catch
    {
      throw .load(.image(error))
    }
    let system = try makeSystem(kernel)
    let context: ExecCtx
    do {
      context = try ExecCtx(
        image: image, secure: false, memorySize: 1 << 20, system: system, architecture: variant.architecture,
        options: options)
    } catch { throw .load(error) }
    // Some failures of KVM_RUN are reported as accesses by the instruction at PC.
    let pc = variant.architecture == .arm64 ? ARM64.pc : RISCV64.pc
    for cpu in kernel.cpus { cpu.setRegister(pc, programEntry) }
    return context
  }

  /// A program that makes all of its calls, by registers and by block.
  private static func everySystemCall(heap: UInt64) -> [(Guest) -> Int] {
    func byBlock(_ number: Int32, _ arguments: UInt64...) -> (Guest) -> Int {
      { guest in
        let words = [UInt64(number)] + arguments
        guest.store(
          words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64($0 * 8)) } }, at: heap)
        return guest.systemCall(APPLET_CALL_BY_BLOCK)
      }
    }
    return [
      { guest in
        guest.store(Array("a line\nand more".utf8), at: heap + 64)
        return guest.systemCall(APPLET_CALL_WRITE, heap + 64, 15)
      },
      { $0.systemCall(APPLET_CALL_PUT_CHARACTER, 0x0a) },
      { $0.systemCall(APPLET_CALL_NANOTIME) },
      { $0.systemCall(APPLET_CALL_READ, heap + 128, 10) },
      { $0.systemCall(APPLET_CALL_GETRANDOM, heap + 128, 1000) },
      { $0.systemCall(APPLET_CALL_SLEEP, 1000) },
      { $0.systemCall(APPLET_CALL_REGION, 0, heap + 128) },
      { $0.systemCall(APPLET_CALL_ARGUMENTS, heap + 128, 100) },
      { $0.systemCall(APPLET_CALL_BLOCK, heap) },
      byBlock(APPLET_CALL_GETRANDOM, heap + 128, 16),
      byBlock(APPLET_CALL_YIELD),
      { $0.systemCall(APPLET_CALL_EXIT_STATUS, 5) },
    ]
  }
}

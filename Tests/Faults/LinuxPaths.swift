import CLinux
import KVM
import Machine
import Monitor
import Platform
import TestSupport

/// Linux guests: the VM with its interrupt controller and devices, the I/O thread, and CPUs on threads of their own.
extension Path {
  static var linuxStart: Path {
    Path(name: "Linux: start", variants: Variant.systemMode) { kernel, variant, stage throws(PathError) in
      stage.begin()
      let machine = try makeLinux(kernel, variant, stage)
      return "\(machine.description.virtio.count) devices"
    }
  }

  static var linuxRun: Path {
    Path(name: "Linux: run", variants: Variant.systemMode) { kernel, variant, stage throws(PathError) in
      let machine = try makeLinux(kernel, variant, stage)
      let steps: [(Guest) -> Int] =
        Array("hello from Linux\n".utf8).map { byte in { $0.mmio(LinuxLayout.serial, isWrite: true, [byte]) } }
        + [
          { $0.mmio(LinuxLayout.serial + 5, isWrite: false, [0]) },
          { $0.mmio(LinuxLayout.virtio, isWrite: false, [0, 0, 0, 0]) },
          { $0.exit(LINUX_KVM_EXIT_SYSTEM_EVENT.rawValue) { $0.system_event.type = 1 } },
        ]
      kernel.program = { guest in
        guard guest.cpu.number == 0 else { return guest.spin() }
        return guest.entry < steps.count ? steps[guest.entry](guest) : -Int(ENODATA)
      }
      stage.begin()
      return try finish(machine)
    }
  }

  static var linuxStop: Path {
    Path(name: "Linux: stop by a signal", variants: Variant.systemMode) { kernel, variant, stage throws(PathError) in
      let machine = try makeLinux(kernel, variant, stage)
      // As if the user had stopped it during the run; if the signal cannot be set up, its deadline ends it.
      kernel.program = { guest in
        if guest.cpu.number == 0, guest.entry == 0 { raise(SIGUSR2) }
        return guest.spin()
      }
      stage.begin()
      do throws(Errno) { try machine.stop(on: SIGUSR2, kernel: kernel) } catch { throw .linux(.host(error)) }
      return try finish(machine)
    }
  }

  private static func finish(_ machine: LinuxMachine) throws(PathError) -> String {
    do throws(LinuxError) { return "\(try machine.run())" } catch { throw .linux(error) }
  }

  private static func makeLinux(_ kernel: ScriptedKernel, _ variant: Variant, _ stage: Stage) throws(PathError)
    -> LinuxMachine
  {
    kernel.runsApplets = false
    kernel.capabilities[LINUX_KVM_CAP_MAX_VCPUS.rawValue] = 8
    kernel.capabilities[LINUX_KVM_CAP_ARM_VM_IPA_SIZE.rawValue] = 40
    var options = LinuxOptions(kernel: stage.kernel(variant))
    options.initrd = stage.disk
    options.cpus = 2
    options.memory = LinuxLayout.minMemory
    options.disks = [.init(path: stage.disk, isReadOnly: true), .init(path: stage.disk, isReadOnly: true)]
    options.ports = [.init(name: "port", end: .socket(path: stage.socket))]
    options.input = stage.input
    options.output = stage.output
    options.deadline = Clock.monotonic + 30_000_000_000
    let system = try makeSystem(kernel)
    do throws(LinuxError) {
      return try LinuxMachine(options, system: system, architecture: variant.architecture) { _ in }
    } catch { throw .linux(error) }
  }
}

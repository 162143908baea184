import DeviceTree
import Devices
import KVM
import Machine
import Platform

/// A Linux guest's interrupt controller: the kernel's if the host provides one for guests, otherwise Swiftlet's PLIC.
final class LinuxInterrupts {
  /// Its description for the device tree.
  let description: MachineDescription.InterruptController
  /// nil if the kernel emulates the controller.
  let plic: PLIC?
  private let controller: InterruptController?

  /// Creates the best controller that the host supports. All vCPUs must exist.
  /// - Throws: `LinuxError.noInterruptController`, `.kvm`.
  init(
    _ machine: borrowing VirtualMachine, _ cpus: CPUSet, architecture: Architecture
  ) throws(LinuxError) {
    do throws(KVMError) {
      switch architecture {
      case .arm64, .aarch32:
        // The 32 private interrupts, and the shared ones in multiples of 32.
        let count = 32 + (LinuxLayout.interrupts + 1)
        if let made = try machine.makeInterruptController(.gicV3) {
          try made.placeGICv3(
            distributor: LinuxLayout.distributor, redistributors: LinuxLayout.redistributors, interrupts: count)
          description = .gicV3(distributor: LinuxLayout.distributor, redistributors: LinuxLayout.redistributors)
          try made.start()
          controller = consume made
        } else if let made = try machine.makeInterruptController(.gicV2) {
          try made.placeGICv2(
            distributor: LinuxLayout.distributor, cpuInterface: LinuxLayout.cpuInterface, interrupts: count)
          description = .gicV2(distributor: LinuxLayout.distributor, cpuInterface: LinuxLayout.cpuInterface)
          try made.start()
          controller = consume made
        } else {
          throw .failed(.createDevice, .noDevice)
        }
        plic = nil
      case .riscv64:
        if let made = try machine.makeInterruptController(.aia) {
          let identities = try made.placeAIA(
            aplic: LinuxLayout.aplic, imsics: LinuxLayout.imsics, sources: LinuxLayout.interrupts,
            vcpus: cpus.count)
          try made.start()
          description = .aia(
            aplic: LinuxLayout.aplic, aplicSize: LinuxLayout.aplicSize, sources: LinuxLayout.interrupts,
            imsics: LinuxLayout.imsics, identities: identities)
          controller = consume made
          plic = nil
        } else {
          let wires = (0..<cpus.count).map { cpus[$0].vcpu.externalInterrupt }
          plic = PLIC(harts: cpus.count) { hart, isSet in wires[hart].set(isSet) }
          description = .plic(base: LinuxLayout.plic, sources: PLIC.sources)
          controller = nil
        }
      }
    } catch {
      throw error == .failed(.createDevice, .noDevice) ? .noInterruptController : .kvm(error)
    }
  }

  /// The line of an interrupt, by its number in the device tree.
  func line(_ number: UInt32, of machine: borrowing VirtualMachine) -> any InterruptLine {
    if let plic { return plic.line(number) }
    let kind: InterruptController.Kind =
      switch description {
      case .gicV2: .gicV2
      case .gicV3: .gicV3
      case .plic, .aia: .aia
      }
    return KernelLine(machine.interruptInput(kind, number: number))
  }

  private final class KernelLine: InterruptLine {
    private let input: InterruptInput
    init(_ input: InterruptInput) { self.input = input }
    func pulse() { input.pulse() }
    func setLevel(_ isHigh: Bool) { input.setLevel(isHigh) }
  }
}

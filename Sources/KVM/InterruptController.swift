import CLinux
import Platform

/// An interrupt controller in the kernel (KVM_CREATE_DEVICE, api.rst 4.79; devices/arm-vgic.rst, arm-vgic-v3.rst; for AIA the
/// uapi header). Create it and set its addresses before vCPUs run; start it when all vCPUs exist.
public struct InterruptController: ~Copyable {
  /// The kinds of controller; which of them the kernel offers depends on the hardware.
  public enum Kind: Sendable {
    /// arm64.
    case gicV2, gicV3
    /// riscv64: APLIC and IMSICs.
    case aia
  }

  /// The kind of controller.
  public let kind: Kind
  private let descriptor: OwnedFD

  fileprivate init(_ kind: Kind, _ descriptor: consuming OwnedFD) {
    self.kind = kind
    self.descriptor = descriptor
  }

  /// Sets the addresses of a GICv2's distributor, of 4 KiB, and CPU interface, of 8 KiB.
  /// - Parameter interrupts: number of interrupts, including the 32 private ones; a multiple of 32.
  public func placeGICv2(distributor: UInt64, cpuInterface: UInt64, interrupts: UInt32) throws(KVMError) {
    try setAddress(LINUX_KVM_VGIC_V2_ADDR_TYPE_DIST.rawValue, distributor)
    try setAddress(LINUX_KVM_VGIC_V2_ADDR_TYPE_CPU.rawValue, cpuInterface)
    try setInterrupts(interrupts)
  }

  /// Sets the addresses of a GICv3's distributor, of 64 KiB, and redistributors, of 128 KiB a vCPU; both aligned to 64 KiB.
  public func placeGICv3(distributor: UInt64, redistributors: UInt64, interrupts: UInt32) throws(KVMError) {
    try setAddress(LINUX_KVM_VGIC_V3_ADDR_TYPE_DIST.rawValue, distributor)
    try setAddress(LINUX_KVM_VGIC_V3_ADDR_TYPE_REDIST.rawValue, redistributors)
    try setInterrupts(interrupts)
  }

  /// Sets the addresses of an APLIC, of 16 KiB, and of the vCPUs' IMSICs, of a page each. To be called when all vCPUs exist.
  /// - Parameters:
  ///   - sources: wired interrupts, numbered from 1.
  ///   - imsics: address of vCPU 0's; a multiple of the size of all of them, rounded up to a power of two.
  /// - Returns: number of interrupt identities of an IMSIC.
  public func placeAIA(aplic: UInt64, imsics: UInt64, sources: UInt32, vcpus: Int) throws(KVMError) -> UInt32 {
    guard vcpus > 0 else { throw .failed(.setDeviceAttribute, .invalid) }
    let configuration = LINUX_KVM_DEV_RISCV_AIA_GRP_CONFIG.rawValue
    var identities: UInt32 = 0
    try transfer(
      .getDeviceAttribute, LINUX_KVM_GET_DEVICE_ATTR, configuration,
      UInt64(LINUX_KVM_DEV_RISCV_AIA_CONFIG_IDS.rawValue), &identities)
    var sources = sources
    try set(configuration, UInt64(LINUX_KVM_DEV_RISCV_AIA_CONFIG_SRCS.rawValue), &sources)
    var hartBits = UInt32(Int.bitWidth - (vcpus - 1).leadingZeroBitCount)
    try set(configuration, UInt64(LINUX_KVM_DEV_RISCV_AIA_CONFIG_HART_BITS.rawValue), &hartBits)
    let group = LINUX_KVM_DEV_RISCV_AIA_GRP_ADDR.rawValue
    var address = aplic
    try set(group, UInt64(LINUX_KVM_DEV_RISCV_AIA_ADDR_APLIC.rawValue), &address)
    for number in 0..<UInt64(vcpus) {
      address = imsics &+ number &* 0x1000
      try set(group, 1 + number, &address)
    }
    return identities
  }

  /// Initializes the controller. To be called when all vCPUs exist and all addresses are set.
  public func start() throws(KVMError) {
    let (group, attribute) =
      kind == .aia
      ? (LINUX_KVM_DEV_RISCV_AIA_GRP_CTRL.rawValue, LINUX_KVM_DEV_RISCV_AIA_CTRL_INIT.rawValue)
      : (LINUX_KVM_DEV_ARM_VGIC_GRP_CTRL.rawValue, LINUX_KVM_DEV_ARM_VGIC_CTRL_INIT.rawValue)
    var none: UInt64 = 0
    try set(group, UInt64(attribute), &none)
  }

  private func setAddress(_ type: UInt32, _ address: UInt64) throws(KVMError) {
    var address = address
    try set(LINUX_KVM_DEV_ARM_VGIC_GRP_ADDR.rawValue, UInt64(type), &address)
  }

  private func setInterrupts(_ count: UInt32) throws(KVMError) {
    var count = count
    try set(LINUX_KVM_DEV_ARM_VGIC_GRP_NR_IRQS.rawValue, 0, &count)
  }

  private func set<Value>(_ group: UInt32, _ attribute: UInt64, _ value: inout Value) throws(KVMError) {
    try transfer(.setDeviceAttribute, LINUX_KVM_SET_DEVICE_ATTR, group, attribute, &value)
  }

  private func transfer<Value>(
    _ call: KVMError.Call, _ request: UInt, _ group: UInt32, _ attribute: UInt64, _ value: inout Value
  ) throws(KVMError) {
    let kernel = descriptor.kernel
    let number = descriptor.number
    let result = withUnsafeMutablePointer(to: &value) { value in
      var attribute = kvm_device_attr(
        flags: 0, group: group, attr: attribute, addr: UInt64(UInt(bitPattern: value)))
      return withUnsafeMutablePointer(to: &attribute) { attribute in
        uninterrupted { kernel.ioctl(number, request, UInt(bitPattern: attribute)) }
      }
    }
    if let errno = Errno(result: result) { throw .failed(call, errno) }
  }
}

extension VirtualMachine {
  /// Creates an interrupt controller in the kernel.
  /// - Returns: nil if the host does not support this kind.
  /// - Throws: `KVMError.failed`.
  public func makeInterruptController(_ kind: InterruptController.Kind) throws(KVMError) -> InterruptController? {
    var device = kvm_create_device()
    device.type =
      switch kind {
      case .gicV2: LINUX_KVM_DEV_TYPE_ARM_VGIC_V2.rawValue
      case .gicV3: LINUX_KVM_DEV_TYPE_ARM_VGIC_V3.rawValue
      case .aia: LINUX_KVM_DEV_TYPE_RISCV_AIA.rawValue
      }
    do throws(Errno) { _ = try descriptor.control(LINUX_KVM_CREATE_DEVICE, &device) } catch {
      if error == .noDevice || error == Errno(ENXIO) { return nil }
      throw .failed(.createDevice, error)
    }
    return InterruptController(
      kind, OwnedFD(adopting: Int32(truncatingIfNeeded: device.fd), kernel: descriptor.kernel))
  }

  /// An input of the kernel's controller for a shared interrupt; valid while the VM exists.
  /// - Parameters:
  ///   - kind: of the VM's controller.
  ///   - number: from 0 for a GIC (INTID minus 32), from 1 for AIA.
  public func interruptInput(_ kind: InterruptController.Kind, number: UInt32) -> InterruptInput {
    let irq =
      kind == .aia
      ? number : LINUX_KVM_ARM_IRQ_TYPE_SPI.rawValue << LINUX_KVM_ARM_IRQ_TYPE_SHIFT.rawValue | number &+ 32
    return InterruptInput(descriptor: descriptor.number, kernel: descriptor.kernel, irq: irq, kind: kind)
  }

  /// Makes the kernel signal an event when the guest stores a 32-bit value at an address, instead of an exit (KVM_IOEVENTFD,
  /// api.rst 4.59).
  /// - Throws: `KVMError.failed`.
  public func signal(_ event: borrowing OwnedFD, onStoreOf value: UInt32, at address: UInt64) throws(KVMError) {
    var request = kvm_ioeventfd()
    request.datamatch = UInt64(value)
    request.addr = address
    request.len = 4
    request.fd = event.number
    request.flags = LINUX_KVM_IOEVENTFD_DATAMATCH.rawValue
    try descriptor.call(.setIOEvent, LINUX_KVM_IOEVENTFD, &request)
  }
}

/// A descriptor for ioctl(2) calls that the kernel accepts from any thread. Sendable because of the kernel's locks; immutable.
private struct SharedDescriptor: @unchecked Sendable {
  let number: Int32
  let kernel: any Kernel

  /// It fails only for arguments that do not exist.
  func control<Value>(_ request: UInt, _ value: Value) {
    var value = value
    _ = withUnsafeMutablePointer(to: &value) { kernel.ioctl(number, request, UInt(bitPattern: $0)) }
  }
}

/// An interrupt line to the kernel's controller (KVM_IRQ_LINE, api.rst 4.25). Any thread may use it.
public struct InterruptInput: Sendable {
  private let descriptor: SharedDescriptor
  private let irq: UInt32
  private let kind: InterruptController.Kind

  fileprivate init(descriptor: Int32, kernel: any Kernel, irq: UInt32, kind: InterruptController.Kind) {
    self.descriptor = SharedDescriptor(number: descriptor, kernel: kernel)
    self.irq = irq
    self.kind = kind
  }

  /// Sets the line's level.
  public func setLevel(_ isHigh: Bool) {
    descriptor.control(LINUX_KVM_IRQ_LINE, linux_irq_level(irq: irq, level: isHigh ? 1 : 0))
  }

  /// Raises the line once, for an interrupt that the guest has configured as edge-triggered. A GIC's line need not be lowered in
  /// between: the kernel treats each call as an edge (arch/arm64/kvm/vgic/vgic.c, `vgic_validate_injection`).
  public func pulse() {
    setLevel(true)
    if kind == .aia { setLevel(false) }
  }
}

/// riscv64: a vCPU's external interrupt (KVM_INTERRUPT, api.rst 4.16). Any thread may use it, since the kernel accepts it without
/// the vCPU's lock.
public struct ExternalInterrupt: Sendable {
  private let descriptor: SharedDescriptor

  init(descriptor: Int32, kernel: any Kernel) {
    self.descriptor = SharedDescriptor(number: descriptor, kernel: kernel)
  }

  /// Sets or clears the interrupt.
  public func set(_ isSet: Bool) {
    descriptor.control(
      LINUX_KVM_INTERRUPT, kvm_interrupt(irq: isSet ? LINUX_KVM_INTERRUPT_SET : LINUX_KVM_INTERRUPT_UNSET))
  }
}

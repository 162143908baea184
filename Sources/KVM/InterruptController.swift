import CLinux
import Platform

/// An interrupt controller inside the kernel (KVM_CREATE_DEVICE, api.rst 4.79; devices/arm-vgic.rst, arm-vgic-v3.rst; for AIA
/// the uapi header). Made and placed before the vCPUs run, started when all of them exist.
public struct InterruptController: ~Copyable {
  /// What the kernel can have, by what the host's own hardware offers.
  public enum Kind: Sendable {
    /// arm64.
    case gicV2, gicV3
    /// riscv64: APLIC and IMSICs.
    case aia
  }

  public let kind: Kind
  private let descriptor: OwnedFD

  fileprivate init(_ kind: Kind, _ descriptor: consuming OwnedFD) {
    self.kind = kind
    self.descriptor = descriptor
  }

  /// Places a GICv2's distributor, of 4 KiB, and CPU interface, of 8 KiB.
  /// - Parameter interrupts: how many there are, the 32 private ones among them; a multiple of 32.
  public func placeGICv2(distributor: UInt64, cpuInterface: UInt64, interrupts: UInt32) throws(KVMError) {
    try setAddress(LINUX_KVM_VGIC_V2_ADDR_TYPE_DIST.rawValue, distributor)
    try setAddress(LINUX_KVM_VGIC_V2_ADDR_TYPE_CPU.rawValue, cpuInterface)
    try setInterrupts(interrupts)
  }

  /// Places a GICv3's distributor, of 64 KiB, and redistributors, of 128 KiB a vCPU; both at multiples of 64 KiB.
  public func placeGICv3(distributor: UInt64, redistributors: UInt64, interrupts: UInt32) throws(KVMError) {
    try setAddress(LINUX_KVM_VGIC_V3_ADDR_TYPE_DIST.rawValue, distributor)
    try setAddress(LINUX_KVM_VGIC_V3_ADDR_TYPE_REDIST.rawValue, redistributors)
    try setInterrupts(interrupts)
  }

  /// Places an APLIC of 16 KiB and the vCPUs' IMSICs, a page each; to be called when all vCPUs exist.
  /// - Parameters:
  ///   - sources: wired interrupts, numbered from 1.
  ///   - imsics: of vCPU 0; a multiple of their size together, rounded up to a power of two.
  /// - Returns: identities that an IMSIC has.
  public func placeAIA(aplic: UInt64, imsics: UInt64, sources: UInt32, vcpus: Int) throws(KVMError) -> UInt32 {
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
      address = imsics + number * 0x1000
      try set(group, 1 + number, &address)
    }
    return identities
  }

  /// Starts the controller, when all vCPUs exist and everything is placed.
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
  /// Makes an interrupt controller in the kernel.
  /// - Returns: nil where the host cannot have this kind.
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

  /// The wire of a shared interrupt of the kernel's controller; good while the machine lives.
  /// - Parameters:
  ///   - kind: of the machine's controller.
  ///   - number: from 0 on for a GIC (INTID less 32), from 1 on for AIA.
  public func interruptInput(_ kind: InterruptController.Kind, number: UInt32) -> InterruptInput {
    let irq =
      kind == .aia
      ? number : LINUX_KVM_ARM_IRQ_TYPE_SPI.rawValue << LINUX_KVM_ARM_IRQ_TYPE_SHIFT.rawValue | number + 32
    return InterruptInput(descriptor: descriptor.number, kernel: descriptor.kernel, irq: irq, kind: kind)
  }

  /// Lets the kernel signal an event whenever the guest stores that value of 32 bits at that address: no exit
  /// (KVM_IOEVENTFD, api.rst 4.59).
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

/// A wire to the kernel's interrupt controller (KVM_IRQ_LINE, api.rst 4.25). Any thread may use it.
public struct InterruptInput: @unchecked Sendable {
  // Immutable; the kernel takes the call from any thread.
  fileprivate let descriptor: Int32
  fileprivate let kernel: any Kernel
  fileprivate let irq: UInt32
  fileprivate let kind: InterruptController.Kind

  /// Sets the wire's level.
  public func setLevel(_ isHigh: Bool) {
    var line = linux_irq_level(irq: irq, level: isHigh ? 1 : 0)
    // It fails for numbers that do not exist alone.
    _ = withUnsafeMutablePointer(to: &line) { kernel.ioctl(descriptor, LINUX_KVM_IRQ_LINE, UInt(bitPattern: $0)) }
  }

  /// One rising edge, for an interrupt that the guest has set to edges. A GIC's wire need not fall in between: the kernel
  /// takes each call as an edge (arch/arm64/kvm/vgic/vgic.c, `vgic_validate_injection`).
  public func pulse() {
    setLevel(true)
    if kind == .aia { setLevel(false) }
  }
}

/// riscv64: a vCPU's external interrupt (KVM_INTERRUPT, api.rst 4.16). Any thread may use it.
public struct ExternalInterrupt: @unchecked Sendable {
  // Immutable; the kernel takes the call from any thread, without the vCPU's lock.
  let descriptor: Int32
  let kernel: any Kernel

  /// Sets the interrupt, or takes it back.
  public func set(_ isSet: Bool) {
    var request = kvm_interrupt(irq: isSet ? LINUX_KVM_INTERRUPT_SET : LINUX_KVM_INTERRUPT_UNSET)
    _ = withUnsafeMutablePointer(to: &request) {
      kernel.ioctl(descriptor, LINUX_KVM_INTERRUPT, UInt(bitPattern: $0))
    }
  }
}

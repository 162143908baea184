import AppletABI
import CLinux
import Machine
import Platform

/// A kernel with a substitute for KVM, which executes a script instead of a guest, and records its calls.
///
/// It is strict in what a monitor may do wrong: memory slots must refer to mapped memory and must not overlap, vCPUs of
/// arm64 must be initialized, descriptors and mappings are counted. Files other than `/dev/kvm` are those of the real
/// kernel.
public final class ScriptedKernel: Kernel, @unchecked Sendable {
  public let architecture: Architecture

  // Properties of the kernel, to be set before it is used.
  public var hasDevice = true
  public var apiVersion = 12
  /// arm64: whether it has the SMCCC filter.
  public var hasFilter = true
  /// arm64: whether it forwards accesses that it does not emulate (KVM_CAP_ARM_NISV_TO_USER).
  public var forwardsAccesses = true
  /// Size of a vCPU's run page, in bytes.
  public var runPageSize = 8192
  /// The values of capabilities; 1 for others.
  public var capabilities: [UInt32: Int] = [LINUX_KVM_CAP_MAX_VCPUS.rawValue: 8]
  /// The script of the guests, called for each entry with its vCPU.
  public var program: (Guest) -> Int = { _ in -Int(ENODATA) }
  /// Whether vCPUs created from now on have applets, with a trap frame, instead of programs in system mode.
  public var runsApplets = true
  /// Registers of new vCPUs that are not zero, by their ids.
  public var initialRegisters: [UInt64: UInt64] = [:]
  /// Makes calls fail.
  public var plan: FaultPlan?
  /// Number of entries after which KVM_RUN fails with an errno that is not used otherwise. It ends tests of guests that
  /// repeat a call until they are stopped, if they are not.
  public var mostEntries = Int.max

  /// A memory slot of a VM.
  public struct Slot: Equatable, Sendable {
    public let address: UInt64
    public let size: UInt64
    public let host: UInt64
    public let flags: UInt32
  }

  /// A VM.
  public final class Machine: @unchecked Sendable {
    public internal(set) var slots: [UInt32: Slot] = [:]
    /// arm64: the function identifiers that the filter forwards.
    public internal(set) var forwarded: [Range<UInt64>] = []
    /// arm64: accesses that KVM does not emulate leave the guest.
    public internal(set) var forwardsAccesses = false
  }

  /// A vCPU.
  public final class VCPU: @unchecked Sendable {
    public let machine: Machine
    /// Numbered over all VMs, in the order of creation.
    public let number: Int
    public let isApplet: Bool
    public internal(set) var isInitialized = false
    /// arm64: `features` of KVM_ARM_VCPU_INIT.
    public internal(set) var features: UInt32 = 0
    /// arm64: external aborts that were injected.
    public internal(set) var aborts = 0
    /// By KVM register id, as bytes.
    public var registers: [UInt64: [UInt8]] = [:]
    public internal(set) var runPage: UnsafeMutableRawPointer?
    /// Entries so far.
    public internal(set) var entries = 0
    /// Held during each of its calls, including KVM_RUN, as by KVM's mutex of a vCPU.
    let mutex = Lock()

    init(_ machine: Machine, number: Int, isApplet: Bool) {
      self.machine = machine
      self.isApplet = isApplet
      self.number = number
    }

    /// A 64-bit register.
    public func register(_ id: UInt64) -> UInt64 {
      (registers[id] ?? []).reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    public func setRegister(_ id: UInt64, _ value: UInt64) {
      registers[id] = withUnsafeBytes(of: value.littleEndian) { Array($0) }
    }
  }

  enum Object {
    case device
    case machine(Machine)
    case cpu(VCPU)
    case controller
    case file
  }

  let lock = Lock()
  private var objects: [Int32: Object] = [:]
  private static let firstDescriptor: Int32 = 1_000_000
  private var nextDescriptor = firstDescriptor
  private var mappings: [UInt: Int] = [:]
  /// All vCPUs ever created.
  public private(set) var cpus: [VCPU] = []
  /// All ioctl(2) requests.
  public private(set) var requests: [UInt] = []
  /// Invalid uses.
  public private(set) var violations: [String] = []

  public init(_ architecture: Architecture) { self.architecture = architecture }

  /// Descriptors and mappings that have not been released.
  public var leaks: (descriptors: Int, mappings: Int) { lock.withLock { (objects.count, mappings.count) } }

  /// Number of times that a request was made.
  public func count(of request: UInt) -> Int { lock.withLock { requests.count { $0 == request } } }

  /// Entries into a vCPU so far, read while it may run.
  public func entries(of number: Int) -> Int { lock.withLock { cpus[number].entries } }

  /// Waits until a vCPU has been entered this number of times, at most 20 seconds.
  public func waitForEntries(_ count: Int = 1, of number: Int = 0) {
    let end = Clock.monotonic + 20_000_000_000
    lock.withLock {
      while number >= cpus.count || cpus[number].entries < count, Clock.monotonic < end { lock.wait(until: end) }
    }
  }

  private func complain(_ text: String) { violations.append(text) }

  // MARK: Kernel

  public func open(_ path: UnsafePointer<CChar>, flags: Int32) -> Int {
    if let failure = failure(of: .open) { return failure }
    guard String(cString: path) == "/dev/kvm" else {
      let result = linux_open(path, flags, 0)
      if result >= 0 { lock.withLock { objects[Int32(result)] = .file } }
      return result
    }
    return hasDevice ? lock.withLock { make(.device) } : -Int(ENOENT)
  }

  public func close(_ descriptor: Int32) -> Int {
    lock.withLock {
      switch objects.removeValue(forKey: descriptor) {
      case .file: return linux_close(descriptor)
      // A descriptor of the real kernel.
      case nil where descriptor < Self.firstDescriptor && linux_close(descriptor) == 0: return 0
      case nil:
        complain("close of descriptor \(descriptor), which is not open")
        return -Int(EBADF)
      default: return 0
      }
    }
  }

  public func map(length: Int, protection: Int32, flags: Int32, descriptor: Int32) -> Int {
    if let failure = failure(of: .map) { return failure }
    var target: VCPU?
    var flags = flags
    if descriptor >= 0 {
      guard case .cpu(let cpu)? = lock.withLock({ objects[descriptor] }), length == runPageSize else {
        return -Int(EINVAL)
      }
      target = cpu
      flags = MAP_PRIVATE | MAP_ANONYMOUS
    }
    let result = linux_mmap(length, protection, flags, -1, 0)
    guard result > 0 else { return result }
    lock.withLock {
      mappings[UInt(bitPattern: result)] = length
      target?.runPage = UnsafeMutableRawPointer(bitPattern: result)
    }
    return result
  }

  public func unmap(_ address: UnsafeMutableRawPointer, length: Int) -> Int {
    lock.withLock {
      if mappings.removeValue(forKey: UInt(bitPattern: address)) != length {
        complain("unmap of what is not mapped so")
      }
    }
    return linux_munmap(address, length)
  }

  public func ioctl(_ descriptor: Int32, _ request: UInt, _ argument: UInt) -> Int {
    if let failure = failure(of: .ioctl(request)) { return failure }
    let object = lock.withLock {
      requests.append(request)
      return objects[descriptor]
    }
    switch object {
    case .device: return lock.withLock { deviceControl(request, argument) }
    case .machine(let machine): return lock.withLock { machineControl(machine, request, argument) }
    case .cpu(let cpu) where request == LINUX_KVM_RUN: return cpu.mutex.withLock { run(cpu) }
    case .cpu(let cpu) where request == LINUX_KVM_INTERRUPT:
      return lock.withLock { vcpuControl(cpu, request, argument) }
    case .cpu(let cpu):
      return cpu.mutex.withLock { lock.withLock { vcpuControl(cpu, request, argument) } }
    // Attributes can have any value.
    case .controller:
      return [LINUX_KVM_SET_DEVICE_ATTR, LINUX_KVM_GET_DEVICE_ATTR].contains(request) ? 0 : -Int(ENOTTY)
    case .file, nil: return -Int(EBADF)
    }
  }

  private func failure(of call: FaultPlan.Call) -> Int? {
    lock.withLock { plan?.failure(of: call).map { -Int($0.code) } }
  }

  private func make(_ object: Object) -> Int {
    nextDescriptor += 1
    objects[nextDescriptor] = object
    return Int(nextDescriptor)
  }

  // MARK: KVM

  private func deviceControl(_ request: UInt, _ argument: UInt) -> Int {
    switch request {
    case LINUX_KVM_GET_API_VERSION: apiVersion
    case LINUX_KVM_CHECK_EXTENSION: capabilities[UInt32(argument)] ?? 1
    case LINUX_KVM_GET_VCPU_MMAP_SIZE: runPageSize
    case LINUX_KVM_CREATE_VM:
      // Type 0 means 40 bits.
      if let limit = capabilities[LINUX_KVM_CAP_ARM_VM_IPA_SIZE.rawValue], limit > 0,
        (argument == 0 ? 40 : argument) > limit
      {
        -Int(EINVAL)
      } else {
        make(.machine(Machine()))
      }
    default: -Int(ENOTTY)
    }
  }

  private func machineControl(_ machine: Machine, _ request: UInt, _ argument: UInt) -> Int {
    switch request {
    case LINUX_KVM_SET_USER_MEMORY_REGION:
      return setMemory(machine, value(argument, kvm_userspace_memory_region.self))
    case LINUX_KVM_SET_DEVICE_ATTR where architecture == .arm64:
      let attribute = value(argument, kvm_device_attr.self)
      guard hasFilter, attribute.group == 0, attribute.attr == 0 else { return -Int(EINVAL) }
      let filter = value(UInt(attribute.addr), linux_smccc_filter.self)
      let range = UInt64(filter.base)..<UInt64(filter.base) + UInt64(filter.count)
      guard filter.action == 2, !range.isEmpty, range.upperBound <= 1 << 32 else { return -Int(EINVAL) }
      guard !machine.forwarded.contains(where: { $0.overlaps(range) }) else { return -Int(EEXIST) }
      guard !cpus.contains(where: { $0.machine === machine && $0.entries > 0 }) else { return -Int(EBUSY) }
      machine.forwarded.append(range)
      return 0
    case LINUX_KVM_ENABLE_CAP:
      let capability = value(argument, kvm_enable_cap.self)
      guard architecture == .arm64, forwardsAccesses, capability.cap == LINUX_KVM_CAP_ARM_NISV_TO_USER.rawValue else {
        return -Int(EINVAL)
      }
      machine.forwardsAccesses = true
      return 0
    case LINUX_KVM_CREATE_DEVICE:
      var device = value(argument, kvm_create_device.self)
      device.fd = UInt32(make(.controller))
      UnsafeMutableRawPointer(bitPattern: argument)?.storeBytes(of: device, as: kvm_create_device.self)
      return 0
    case LINUX_KVM_IOEVENTFD, LINUX_KVM_IRQ_LINE: return 0
    case LINUX_KVM_CREATE_VCPU:
      let cpu = VCPU(machine, number: cpus.count, isApplet: runsApplets)
      cpus.append(cpu)
      return make(.cpu(cpu))
    case LINUX_KVM_ARM_PREFERRED_TARGET where architecture == .arm64:
      UnsafeMutableRawPointer(bitPattern: argument)?.storeBytes(of: linux_vcpu_init(), as: linux_vcpu_init.self)
      UnsafeMutableRawPointer(bitPattern: argument)?.storeBytes(of: 5, as: UInt32.self)
      return 0
    default: return -Int(ENOTTY)
    }
  }

  private func setMemory(_ machine: Machine, _ region: kvm_userspace_memory_region) -> Int {
    let (start, size, host) = (region.guest_phys_addr, region.memory_size, region.userspace_addr)
    guard size > 0 else {
      return machine.slots.removeValue(forKey: region.slot) == nil ? -Int(EINVAL) : 0
    }
    guard (start | size | host) % UInt64(linux_page_size()) == 0 else { return -Int(EINVAL) }
    guard mappings.contains(where: { $0.key <= host && host + size <= UInt64($0.key) + UInt64($0.value) }) else {
      complain("memory slot of memory that is not mapped")
      return -Int(EFAULT)
    }
    let range = start..<start + size
    let overlaps = machine.slots.contains {
      $0.key != region.slot && ($0.value.address..<$0.value.address + $0.value.size).overlaps(range)
    }
    guard !overlaps else { return -Int(EEXIST) }
    machine.slots[region.slot] = Slot(address: start, size: size, host: host, flags: region.flags)
    return 0
  }

  private func initialBytes(_ id: UInt64, _ size: Int) -> [UInt8] {
    let value = initialRegisters[id] ?? 0
    return (0..<size).map { $0 < 8 ? UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) : 0 }
  }

  private func vcpuControl(_ cpu: VCPU, _ request: UInt, _ argument: UInt) -> Int {
    switch request {
    case LINUX_KVM_ARM_VCPU_INIT where architecture == .arm64:
      let wanted = value(argument, linux_vcpu_init.self)
      guard wanted.target == 5 else { return -Int(EINVAL) }
      cpu.features = wanted.features.0
      cpu.isInitialized = true
      return 0
    case LINUX_KVM_SET_ONE_REG, LINUX_KVM_GET_ONE_REG:
      guard cpu.isInitialized || architecture == .riscv64 else { return -Int(ENOEXEC) }
      let register = value(argument, kvm_one_reg.self)
      let family: UInt64 = architecture == .arm64 ? 0x6000 : 0x8000
      guard register.id >> 48 & 0xf000 == family, let at = UnsafeMutableRawPointer(bitPattern: UInt(register.addr))
      else {
        return -Int(ENOENT)
      }
      let size = 1 << Int(register.id >> 52 & 15)
      if request == LINUX_KVM_SET_ONE_REG {
        cpu.registers[register.id] = Array(UnsafeRawBufferPointer(start: at, count: size))
      } else {
        at.copyMemory(
          from: cpu.registers[register.id] ?? initialBytes(register.id, size), byteCount: size)
      }
      return 0
    case LINUX_KVM_INTERRUPT where architecture == .riscv64: return 0
    case LINUX_KVM_SET_VCPU_EVENTS where architecture == .arm64:
      let events = value(argument, linux_vcpu_events.self)
      guard events.ext_dabt_pending == 1, events.serror_pending == 0 else { return -Int(EINVAL) }
      cpu.aborts += 1
      return 0
    default: return -Int(ENOTTY)
    }
  }

  private func run(_ cpu: VCPU) -> Int {
    guard cpu.isInitialized || architecture == .riscv64 else { return -Int(ENOEXEC) }
    guard let page = cpu.runPage else { return -Int(EFAULT) }
    let run = page.assumingMemoryBound(to: kvm_run.self)
    // The kernel completes the access of a program.
    if run.pointee.exit_reason == LINUX_KVM_EXIT_MMIO.rawValue, !cpu.isApplet {
      let pc = architecture == .arm64 ? ARM64.pc : RISCV64.pc
      cpu.setRegister(pc, cpu.register(pc) &+ 4)
    }
    if linux_immediate_exit(run) != 0 {
      run.pointee.exit_reason = LINUX_KVM_EXIT_INTR.rawValue
      return -Int(EINTR)
    }
    guard cpu.entries < mostEntries else { return -Int(ETIME) }
    let guest = Guest(cpu, run: run, architecture: architecture)
    // Not a step of the script.
    if cpu.isApplet, let result = guest.storeRegisters() { return result }
    lock.withLock {
      cpu.entries += 1
      lock.wakeAll()
    }
    // The shim does this in each entry.
    if cpu.isApplet { guest.frame[Int(APPLET_FRAME_ON_ENTRY)] = 0 }
    return program(guest)
  }

  private func value<Value>(_ argument: UInt, _ type: Value.Type) -> Value {
    // The caller's pointer, as passed to the kernel.
    UnsafeRawPointer(bitPattern: argument)!.loadUnaligned(as: Value.self)
  }
}

/// Makes one call fail.
public struct FaultPlan {
  /// A call that can fail.
  public enum Call: Equatable, Sendable {
    case open, map
    case ioctl(UInt)
  }

  private var remaining: Int
  private let errno: Errno
  private let predicate: (Call) -> Bool
  /// The call that failed; nil if none has yet.
  public private(set) var failed: Call?

  /// - Parameters:
  /// - number: index of the call that fails, from 0.
  ///   - calls: the calls that are counted.
  public init(call number: Int, errno: Int32, among calls: @escaping (Call) -> Bool = { _ in true }) {
    remaining = number
    self.errno = Errno(errno)
    predicate = calls
  }

  mutating func failure(of call: Call) -> Errno? {
    guard failed == nil, predicate(call) else { return nil }
    if remaining > 0 {
      remaining -= 1
      return nil
    }
    failed = call
    return errno
  }
}

import AppletABI
import CLinux
import Machine
import Platform

/// A kernel with a KVM of its own that runs no guest, but a script of what guests do; and a record of what it was asked.
///
/// It is as strict as the real one where a monitor could go wrong: memory slots must be of mapped memory and must not
/// overlap, arm64's vCPUs must be initialized, descriptors and mappings are counted. Files other than `/dev/kvm` are the real
/// kernel's.
public final class ScriptedKernel: Kernel, @unchecked Sendable {
  public let architecture: Architecture

  // What this kernel is like. To be set before it is used.
  public var hasDevice = true
  public var apiVersion = 12
  /// arm64: whether it has the SMCCC filter.
  public var hasFilter = true
  /// Bytes of a vCPU's run page.
  public var runPageSize = 8192
  /// What it answers for capabilities; 1 for those not named.
  public var capabilities: [UInt32: Int] = [:]
  /// What the guests do; each is given its vCPU at every entry.
  public var program: (Guest) -> Int = { _ in -Int(ENODATA) }
  /// Whether guests of vCPUs made from now on are applets, with a trap frame, and not programs in system mode.
  public var runsApplets = true
  /// Makes calls fail.
  public var plan: FaultPlan?
  /// Entries after which a vCPU's KVM_RUN fails with an errno that no kernel answers here, for guests that call for ever until
  /// they are found out: where they are not, the test fails instead of going on.
  public var mostEntries = Int.max

  /// A memory slot of a virtual machine.
  public struct Slot: Equatable, Sendable {
    public let address: UInt64
    public let size: UInt64
    public let host: UInt64
    public let flags: UInt32
  }

  /// A virtual machine.
  public final class Machine: @unchecked Sendable {
    public internal(set) var slots: [UInt32: Slot] = [:]
    /// arm64: the function ids that the filter forwards.
    public internal(set) var forwarded: [Range<UInt64>] = []
  }

  /// A virtual processor.
  public final class Processor: @unchecked Sendable {
    public let machine: Machine
    /// Counted over all machines, in the order of their making.
    public let number: Int
    let isApplet: Bool
    public internal(set) var isInitialized = false
    /// arm64: `features` of KVM_ARM_VCPU_INIT.
    public internal(set) var features: UInt32 = 0
    /// By KVM id, as bytes.
    public var registers: [UInt64: [UInt8]] = [:]
    public internal(set) var runPage: UnsafeMutableRawPointer?
    /// Entries so far.
    public internal(set) var entries = 0

    init(_ machine: Machine, number: Int, isApplet: Bool) {
      self.machine = machine
      self.isApplet = isApplet
      self.number = number
    }

    /// A register of 64 bits.
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
    case processor(Processor)
    case controller
    case file
  }

  let lock = Lock()
  private var objects: [Int32: Object] = [:]
  private static let firstDescriptor: Int32 = 1_000_000
  private var nextDescriptor = firstDescriptor
  private var mappings: [UInt: Int] = [:]
  /// Every vCPU that was ever made.
  public private(set) var processors: [Processor] = []
  /// Requests of ioctl(2) since the beginning.
  public private(set) var requests: [UInt] = []
  /// Uses that no kernel would forgive.
  public private(set) var violations: [String] = []

  public init(_ architecture: Architecture) { self.architecture = architecture }

  /// Descriptors and mappings that are not released yet.
  public var leaks: (descriptors: Int, mappings: Int) { lock.withLock { (objects.count, mappings.count) } }

  /// How often a request was made.
  public func count(of request: UInt) -> Int { lock.withLock { requests.count { $0 == request } } }

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
      // A descriptor of the real kernel's that was handed over.
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
    var target: Processor?
    var flags = flags
    if descriptor >= 0 {
      guard case .processor(let processor)? = lock.withLock({ objects[descriptor] }), length == runPageSize else {
        return -Int(EINVAL)
      }
      target = processor
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
    case .processor(let processor) where request == LINUX_KVM_RUN: return run(processor)
    case .processor(let processor): return lock.withLock { processorControl(processor, request, argument) }
    // Its attributes are as they are wanted to be.
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
      // Type 0 are 40 bits.
      if let most = capabilities[LINUX_KVM_CAP_ARM_VM_IPA_SIZE.rawValue], most > 0,
        (argument == 0 ? 40 : argument) > most
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
      guard !processors.contains(where: { $0.machine === machine && $0.entries > 0 }) else { return -Int(EBUSY) }
      machine.forwarded.append(range)
      return 0
    case LINUX_KVM_CREATE_DEVICE:
      var device = value(argument, kvm_create_device.self)
      device.fd = UInt32(make(.controller))
      UnsafeMutableRawPointer(bitPattern: argument)?.storeBytes(of: device, as: kvm_create_device.self)
      return 0
    case LINUX_KVM_IOEVENTFD, LINUX_KVM_IRQ_LINE: return 0
    case LINUX_KVM_CREATE_VCPU:
      let processor = Processor(machine, number: processors.count, isApplet: runsApplets)
      processors.append(processor)
      return make(.processor(processor))
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

  private func processorControl(_ processor: Processor, _ request: UInt, _ argument: UInt) -> Int {
    switch request {
    case LINUX_KVM_ARM_VCPU_INIT where architecture == .arm64:
      let wanted = value(argument, linux_vcpu_init.self)
      guard wanted.target == 5 else { return -Int(EINVAL) }
      processor.features = wanted.features.0
      processor.isInitialized = true
      return 0
    case LINUX_KVM_SET_ONE_REG, LINUX_KVM_GET_ONE_REG:
      guard processor.isInitialized || architecture == .riscv64 else { return -Int(ENOEXEC) }
      let register = value(argument, kvm_one_reg.self)
      let family: UInt64 = architecture == .arm64 ? 0x6000 : 0x8000
      guard register.id >> 48 & 0xf000 == family, let at = UnsafeMutableRawPointer(bitPattern: UInt(register.addr))
      else {
        return -Int(ENOENT)
      }
      let size = 1 << Int(register.id >> 52 & 15)
      if request == LINUX_KVM_SET_ONE_REG {
        processor.registers[register.id] = Array(UnsafeRawBufferPointer(start: at, count: size))
      } else {
        at.copyMemory(
          from: processor.registers[register.id] ?? [UInt8](repeating: 0, count: size), byteCount: size)
      }
      return 0
    case LINUX_KVM_INTERRUPT where architecture == .riscv64: return 0
    default: return -Int(ENOTTY)
    }
  }

  private func run(_ processor: Processor) -> Int {
    guard processor.isInitialized || architecture == .riscv64 else { return -Int(ENOEXEC) }
    guard let page = processor.runPage else { return -Int(EFAULT) }
    let run = page.assumingMemoryBound(to: kvm_run.self)
    if linux_immediate_exit(run) != 0 {
      run.pointee.exit_reason = LINUX_KVM_EXIT_INTR.rawValue
      return -Int(EINTR)
    }
    guard processor.entries < mostEntries else { return -Int(ETIME) }
    let guest = Guest(processor, run: run, architecture: architecture)
    // No step of the script's.
    if processor.isApplet, let result = guest.storeRegisters() { return result }
    lock.withLock { processor.entries += 1 }
    // The shim does so at each entry.
    if processor.isApplet { guest.frame[Int(APPLET_FRAME_ON_ENTRY)] = 0 }
    return program(guest)
  }

  private func value<Value>(_ argument: UInt, _ type: Value.Type) -> Value {
    // The caller's pointer, as the kernel takes it.
    UnsafeRawPointer(bitPattern: argument)!.loadUnaligned(as: Value.self)
  }
}

/// A plan that makes one call fail.
public struct FaultPlan {
  /// A call that can fail.
  public enum Call: Equatable, Sendable {
    case open, map
    case ioctl(UInt)
  }

  private var remaining: Int
  private let errno: Errno
  private let isMeant: (Call) -> Bool
  /// The call that failed; nil as long as none has.
  public private(set) var failed: Call?

  /// - Parameters:
  ///   - number: which of the calls fails, from 0.
  ///   - calls: those that are counted.
  public init(call number: Int, errno: Int32, among calls: @escaping (Call) -> Bool = { _ in true }) {
    remaining = number
    self.errno = Errno(errno)
    isMeant = calls
  }

  mutating func failure(of call: Call) -> Errno? {
    guard failed == nil, isMeant(call) else { return nil }
    if remaining > 0 {
      remaining -= 1
      return nil
    }
    failed = call
    return errno
  }
}

import Applet
import CLinux
import DeviceTree
import Devices
import KVM
import Machine
import Platform

/// Why a Linux guest could not be created, or its run failed.
public enum LinuxError: Error, Equatable {
  /// The kernel's file was rejected.
  case kernel(KernelImageError)
  /// The initrd cannot be read.
  case initrd(Errno)
  /// Kernel and initrd do not fit into the memory.
  case layout(LinuxLayoutError, memory: UInt64)
  /// arm64: the kernel was built for a page size, in bytes, that the CPU does not support.
  case pageSize(UInt64)
  /// More memory than the host has.
  case hostMemory(max: UInt64)
  /// A disk, by its index.
  case disk(Int, DiskError)
  /// A port, by its index; EEXIST if an earlier one has the same name.
  case port(Int, Errno)
  /// The device tree cannot be written.
  case deviceTree(DeviceTreeError)
  /// The host cannot provide an interrupt controller for guests.
  case noInterruptController
  /// No CPU, or more than the host or its interrupt controller supports for a guest.
  case cpus(max: Int)
  /// An error of KVM.
  case kvm(KVMError)
  /// The kernel denies something other than KVM that the machine needs.
  case host(Errno)
  /// An exit that a Linux guest does not cause.
  case unexpectedExit(Exit)
  /// The guest accessed an address without memory with an instruction that KVM does not emulate, and cannot take an exception for it:
  /// the instruction is the first one of its own exception vector, or the host's kernel is older than Linux 5.5 (arm64).
  case access(pc: UInt64)
  /// The guest's output cannot be written.
  case output(Errno)
  /// It is running already, on another thread.
  case running

  /// A description, in one line that follows the name of the file in question: kernel, initrd or disk.
  public var description: String {
    switch self {
    case .kernel(let error): error.description
    case .initrd(.invalid): "not a regular file: give the path of an initrd"
    case .initrd(let errno): "cannot be read: \(errno.description)"
    case .layout(.header, _): "its header requests more memory than any machine has: copy or build it again"
    case .layout(.needsMemory(let needed), let memory):
      "kernel and initrd do not fit into \(memory >> 20) MiB of memory: give it --memory \(needed >> 20)M or more"
    case .layout(.beyondAddressSpace(let limit), let memory):
      "\(memory >> 20) MiB of memory would end above \(hex(limit)), the highest guest address on this host: give less with --memory"
    case .pageSize(let size):
      "a kernel with pages of \(size >> 10) KiB, which this host's CPU does not support: give one with pages of 4 KiB"
    case .hostMemory(let max): "the host has \(max >> 20) MiB of memory: give the guest less with --memory"
    case .disk(_, let error): error.description
    case .port(_, Errno(EADDRINUSE)):
      "the file exists and is not an unused socket: give another path, or remove it"
    case .port(_, Errno(EEXIST)): "another port has the same name: give each port its own name"
    case .port(_, let errno): "cannot create a socket there: \(errno.description)"
    case .deviceTree(let error): error.description
    case .noInterruptController:
      "Linux needs an interrupt controller, and guests cannot use that of this host (as on a Raspberry Pi 3): use another host"
    case .cpus(let max): "a guest can have 1 to \(max) CPUs on this host: change --cpus"
    case .kvm(let error): error.description
    case .host(let errno): "the host denies what it needs to run: \(errno.description)"
    case .unexpectedExit(let exit): ExecError.unexpectedExit(exit).description
    case .access(let pc): "it accessed an address without memory, at pc \(hex(pc)), and cannot take the exception"
    case .running: ExecError.running.description
    case .output(let errno): "its output cannot be written: \(errno.description)"
    }
  }
}

/// How a Linux guest's run ended without an error of the machine.
public enum LinuxOutcome: Equatable, Sendable {
  /// The guest powered itself off.
  case poweredOff
  /// The guest requested a reset. `isSilent`: before any output, as a kernel does that panics before it has a console.
  case reset(isSilent: Bool)
  /// The guest requested a reset after a kernel panic with this message.
  case panicked(String)
  /// The deadline was reached.
  case timeLimit
  /// `stop()` was called.
  case stopped
}

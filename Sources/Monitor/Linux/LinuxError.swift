import Applet
import CLinux
import DeviceTree
import Devices
import KVM
import Machine
import Platform

/// Why a Linux guest could not be made, or its run failed.
public enum LinuxError: Error, Equatable {
  case kernel(KernelImageError)
  case initrd(Errno)
  case layout(LinuxLayout.Problem, memory: UInt64)
  /// More memory than the host has.
  case hostMemory(most: UInt64)
  /// A disk by its number among them.
  case disk(Int, DiskError)
  /// A port by its number among them.
  case port(Int, Errno)
  case deviceTree(DeviceTreeError)
  /// The host has no interrupt controller for guests.
  case noInterruptController
  /// More processors than the host, or its interrupt controller, gives a guest.
  case processors(most: Int)
  case kvm(KVMError)
  /// The kernel refuses something that the machine needs beside KVM.
  case host(Errno)
  /// The guest left in a way that no Linux has a reason for.
  case unexpectedExit(Exit)
  /// What the guest wrote cannot be passed on.
  case output(Errno)

  /// What happened, in one line that goes behind the name of the file it is about: the kernel's, the initrd's, the disk's.
  public var description: String {
    switch self {
    case .kernel(let error): error.description
    case .initrd(.invalid): "not a regular file: give the path of an initial file system"
    case .initrd(let errno): "cannot be read: \(errno.description)"
    case .layout(.header, _): "its header asks for memory that no machine has: copy or build it again"
    case .layout(.needsMemory(let needed), let memory):
      "kernel and initrd do not fit \(memory >> 20) MiB of memory: give it --memory \(needed >> 20)M or more"
    case .layout(.beyondAddressSpace(let limit), let memory):
      "\(memory >> 20) MiB of memory would end beyond \(hex(limit)), the last address of a guest here: give it less --memory"
    case .hostMemory(let most): "this host has \(most >> 20) MiB of memory itself: give the guest less with --memory"
    case .disk(_, let error): error.description
    case .port(_, Errno(EADDRINUSE)):
      "the file is there already, and no socket that was left over: give another path, or remove it"
    case .port(_, let errno): "no socket can be made there: \(errno.description)"
    case .deviceTree(let error): error.description
    case .noInterruptController:
      "this host's interrupt controller cannot be used by guests, and Linux needs one: a Raspberry Pi 3 is such a host"
    case .processors(let most): "this host gives a guest at most \(most) processors: ask for fewer with --cpus"
    case .kvm(let error): error.description
    case .host(let errno): "the host refuses what running it needs: \(errno.description)"
    case .unexpectedExit(let exit): ExecError.unexpectedExit(exit).description
    case .output(let errno): "its output cannot be written: \(errno.description)"
    }
  }
}

/// How a Linux guest's run ended when nothing went wrong with the machine.
public enum LinuxOutcome: Equatable, Sendable {
  /// It powered itself off.
  case poweredOff
  /// It asked for a reset; `isSilent`: before it wrote anything, as a kernel does that panics before it has its console.
  case reset(isSilent: Bool)
  /// It asked for a reset behind a kernel panic, of which this is the message.
  case panicked(String)
  /// The time limit was reached.
  case timeLimit
  /// `stop()` was called.
  case stopped
}

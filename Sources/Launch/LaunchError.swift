import Applet
import DeviceTree
import KVM
import Monitor
import Platform

/// Why a guest could not be created from its description. A file is given by its path, or by the name of an image that was passed
/// as a descriptor.
public enum LaunchError: Error {
  /// The host is neither ARM64 nor RISC-V.
  case architecture
  /// `--transport` on riscv64.
  case noTransportChoice
  /// `--clint` on arm64.
  case noCLINT
  /// `--transport hvc` on a kernel without the SMCCC filter.
  case noHypercallFilter
  /// The image was rejected.
  case image(String, ImageError)
  /// The image is not the one whose digest was given.
  case digest(String, found: ImageDigest, expected: ImageDigest)
  /// A file with changes to the device tree cannot be read.
  case treeFile(String, Errno)
  /// The device tree cannot be written, or a file with changes is invalid.
  case deviceTree(String, DeviceTreeError)
  /// The peer cannot be attached to the program.
  case peer(String, AttachError)
  /// A Linux guest could not be created, or its run failed.
  case linux(LinuxError, file: String?)
  /// The context could not be created.
  case context(String, LoadError)
  /// The copies cannot run in lockstep.
  case lockstep(LockstepError)
  /// An error of KVM.
  case kvm(KVMError)
  /// The process cannot change to the user who is to run the guest.
  case user(UInt32, Errno)
  /// A system call other than KVM's failed.
  case host(Errno)

  /// The exit status of `swiftlet run`.
  public var exitCode: ExitCode {
    switch self {
    case .noTransportChoice, .noCLINT: .usage
    case .image(_, let error): error.exitCode
    case .digest, .treeFile(_, Errno.tooBig), .deviceTree, .peer: .image
    case .treeFile: .unreadable
    case .linux(let error, _): error.exitCode
    case .context(_, .cpus), .context(_, .noAArch32): .host
    case .context: .image
    case .architecture, .noHypercallFilter, .lockstep, .kvm, .user, .host: .host
    }
  }

  /// The file that it concerns; nil for none.
  public var file: String? {
    switch self {
    case .image(let file, _), .digest(let file, _, _), .treeFile(let file, _), .deviceTree(let file, _),
      .peer(let file, _),
      .context(let file, _):
      file
    case .linux(_, let file): file
    case .architecture, .noTransportChoice, .noCLINT, .noHypercallFilter, .lockstep, .kvm, .user, .host: nil
    }
  }

  /// The error and its remedy, in one line without the file's name.
  public var reason: String {
    switch self {
    case .architecture:
      "this host is neither ARM64 nor RISC-V: use such a host, or an emulated board (make run)"
    case .noCLINT: "--clint is for riscv64: on arm64 there is no CLINT"
    case .noTransportChoice: "--transport is for arm64: on riscv64 all calls use SBI"
    case .noHypercallFilter:
      "--transport hvc: this kernel has no SMCCC filter (added in Linux 6.4): use --transport mmio"
    case .image(_, let error): error.description
    case .digest(_, let found, let expected): "its digest is \(found.description), not \(expected.description)"
    case .treeFile(_, Errno.tooBig): DeviceTreeError.Problem.tooLarge.description
    case .treeFile(_, let errno): "cannot be read: \(errno.description)"
    case .deviceTree(_, let error): error.description
    case .peer(_, let error): error.description
    case .linux(let error, _): error.description
    case .context(_, let error): error.description
    case .lockstep(let error): error.description
    case .kvm(let error): error.description
    case .user(let user, let errno): "the worker cannot change to user \(user): \(errno.description)"
    case .host(let errno): LinuxError.host(errno).description
    }
  }

  /// The whole message.
  public var description: String { file.map { "\($0): \(reason)" } ?? reason }
}

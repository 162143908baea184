"""The emulated boards: what each is, and where its kernel, initial file system and QEMU are."""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(HERE)


class Unavailable(Exception):
    """A board cannot be had on this machine; the text says why and what helps."""


class Board:
    def __init__(self, name, architecture, package, modules, machine, cpu, summary, least_qemu=7):
        self.name, self.architecture, self.summary = name, architecture, summary
        self.package, self.modules = package, modules
        self.machine, self.cpu, self.least_qemu = machine, cpu, least_qemu

    @property
    def console(self):
        return {"arm64": "ttyAMA0", "riscv64": "ttyS0"}[self.architecture]

    def assets(self, kind, make):
        """A folder that boards/assets makes; None where it is missing and is not to be made."""
        command = [os.path.join(HERE, "assets"), kind, self.architecture, self.package, *self.modules, *GUEST_MODULES]
        return asset(command, make)

    @functools.cache
    def prepare(self):
        """Gets and makes what is missing of the board: its QEMU, and the folders of its kernel and initial file system."""
        qemu, kernel, base = self.qemu(make=True), self.assets("kernel", make=True), self.assets("initramfs", make=True)
        if kernel is None or base is None:
            raise Unavailable(f"{self.name}: its kernel or initial file system could not be made")
        return qemu, kernel, base

    def qemu(self, make):
        """The QEMU for this board."""
        program = {"arm64": "qemu-system-aarch64", "riscv64": "qemu-system-riscv64"}[self.architecture]
        system = QEMU(shutil.which(program)) if shutil.which(program) else None
        if system and system.version >= self.least_qemu:
            return system
        if not system and self.least_qemu <= 7:
            raise Unavailable(f"{program} is missing: run tools/setup")
        folder = asset([os.path.join(HERE, "assets"), "qemu"], make)
        if folder is None:
            found = f"{program} here is version {system.version}" if system else f"{program} is missing"
            hope = "Debian's backports serve none" if make else f"\"boards/prepare {self.name}\" asks Debian's backports"
            raise Unavailable(f"{self.name} needs QEMU {self.least_qemu} or newer; {found}, {hope}")
        return QEMU(os.path.join(folder, "usr/bin", program), folder)


class QEMU:
    """A QEMU program; one that is not the system's runs out of the folder it was unpacked to."""

    def __init__(self, path, folder=None):
        self.path = path
        self.environment = dict(os.environ)
        self.options = []
        if folder:
            libraries = [root for root, _, files in os.walk(os.path.join(folder, "usr/lib"))
                         if any(".so." in name for name in files)]
            self.environment["LD_LIBRARY_PATH"] = ":".join(libraries)
            self.options = ["-L", os.path.join(folder, "usr/share/qemu"), "-L", os.path.join(folder, "usr/share/seabios")]

    @functools.cached_property
    def version(self):
        try:
            text = subprocess.run([self.path, "--version"], env=self.environment, capture_output=True, text=True).stdout
        except OSError as error:
            raise Unavailable(f"{self.path}: {error.strerror}") from None
        found = re.search(r"version (\d+)", text)
        if not found:
            raise Unavailable(f"{self.path} --version says no version")
        return int(found.group(1))


def asset(command, make):
    """The folder that a boards/assets command prints; None if it fails, or if it would have to make it and may not."""
    environment = dict(os.environ)
    if not make:
        environment["SWIFTLET_CACHE_ONLY"] = "yes"
    # A group of its own: whatever it has started ends with it when this process is interrupted.
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                               stderr=None if make else subprocess.DEVNULL, start_new_session=True)
    try:
        path, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    return path.strip() if process.returncode == 0 else None


# What Linux in a guest of the board's needs for its devices.
GUEST_MODULES = ["virtio_mmio", "virtio_blk", "virtio-rng"]

# What boards/run talks through, where the kernel does not have it built in; in the order that they are loaded in.
VIRTIO = ["virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_console"]

ARM64 = "virt,virtualization=on,gic-version="

# The two arm64 cores with the same kernel and page size differ on purpose: the Cortex-A72 has no VHE, so KVM's
# hypervisor half runs apart from the kernel there; the 16 KiB board's core has it.
# "tun" is the one module beside KVM that a monitor on a host needs: its guests' network.
BOARDS = [
    Board("arm64", "arm64", "linux-image-arm64", ["tun"], ARM64 + "3", lambda qemu: "cortex-a72",
          "an ARM64 server: GICv3, 4 KiB pages"),
    Board("arm64-gicv2", "arm64", "linux-image-arm64", ["tun"], ARM64 + "2", lambda qemu: "cortex-a72",
          "like a Raspberry Pi 4: Cortex-A72, GICv2, 4 KiB pages"),
    # QEMU 7.2 has no Cortex-A76; its "max" is the one core with VHE and 16 KiB pages. pauth-impdef: the
    # architecture's own pointer signing costs an emulator half its time.
    Board("arm64-16k", "arm64", "linux-image-arm64-16k", ["tun"], ARM64 + "2",
          lambda qemu: "cortex-a76" if qemu.version >= 8 else "max,pauth-impdef=on",
          "like a Raspberry Pi 5: GICv2, 16 KiB pages, a core with VHE"),
    Board("arm64-6.1", "arm64", "linux-image-arm64/bookworm", [*VIRTIO, "tun"], ARM64 + "2", lambda qemu: "cortex-a72",
          "the board like a Raspberry Pi 4 with Debian 12's Linux 6.1, which has no SMCCC filter"),
    Board("riscv64", "riscv64", "linux-image-riscv64", ["kvm", "tun"], "virt", lambda qemu: "rv64,h=true",
          "a RISC-V board with the H extension and a PLIC"),
    Board("riscv64-aia", "riscv64", "linux-image-riscv64", ["kvm", "tun"], "virt,aia=aplic-imsic,aia-guests=3",
          lambda qemu: "rv64,h=true,smaia=true,ssaia=true",
          "the same with AIA, the advanced interrupt architecture; QEMU 8 or newer", least_qemu=8),
]


def find(name):
    for board in BOARDS:
        if board.name == name:
            return board
    raise Unavailable(f"no board \"{name}\": there are " + ", ".join(board.name for board in BOARDS))

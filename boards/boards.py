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
    """A board is not available on this machine; the text has the reason and the remedy."""


class Board:
    def __init__(self, name, architecture, package, modules, machine, cpu, summary, least_qemu=7):
        self.name, self.architecture, self.summary = name, architecture, summary
        self.package, self.modules = package, modules
        self.machine, self.cpu, self.least_qemu = machine, cpu, least_qemu

    # What QEMU and the kernel get besides: see system.py.
    devices, settings = (), ""

    @property
    def swiftlet(self):
        """The board's /bin/swiftlet, if it has been built."""
        return os.path.join(REPOSITORY, "build", self.architecture, "swiftlet")

    @property
    def console(self):
        return {"arm64": "ttyAMA0", "riscv64": "ttyS0"}[self.architecture]

    def assets(self, kind, make):
        """A directory that boards/assets creates; None if it is missing and must not be created."""
        command = [os.path.join(HERE, "assets"), kind, self.architecture, self.package, *self.modules, *GUEST_MODULES]
        return asset(command, make)

    @functools.cache
    def prepare(self):
        """Downloads and builds what the board lacks: its QEMU, kernel and initial file system."""
        qemu, kernel, base = self.qemu(make=True), self.assets("kernel", make=True), self.assets("initramfs", make=True)
        if kernel is None or base is None:
            raise Unavailable(f"{self.name}: its kernel or initial file system could not be built")
        return qemu, kernel, base

    def qemu(self, make):
        """The QEMU for this board."""
        program = {"arm64": "qemu-system-aarch64", "riscv64": "qemu-system-riscv64"}[self.architecture]
        system = QEMU(shutil.which(program)) if shutil.which(program) else None
        if system and system.version >= self.least_qemu:
            return system
        if not system and self.least_qemu <= 7:
            packages = {"arm64": "qemu-system-arm", "riscv64": "qemu-system-riscv or qemu-system-misc"}[self.architecture]
            raise Unavailable(f"{program} is missing: install Debian's {packages}")
        directory = asset([os.path.join(HERE, "assets"), "qemu"], make)
        if directory is None:
            found = f"{program} here is version {system.version}" if system else f"{program} is missing"
            hope = "Debian's backports serve none" if make else "preparing the board asks Debian's backports"
            raise Unavailable(f"{self.name} needs QEMU {self.least_qemu} or newer; {found}, {hope}")
        return QEMU(os.path.join(directory, "usr/bin", program), directory)


class QEMU:
    """A QEMU program of the system, or of the directory that it was unpacked to."""

    def __init__(self, path, directory=None):
        self.path = path
        self.environment = dict(os.environ)
        self.options = []
        if directory:
            libraries = [root for root, _, files in os.walk(os.path.join(directory, "usr/lib"))
                         if any(".so." in name for name in files)]
            self.environment["LD_LIBRARY_PATH"] = ":".join(libraries)
            self.options = ["-L", os.path.join(directory, "usr/share/qemu"), "-L", os.path.join(directory, "usr/share/seabios")]

    @functools.cached_property
    def version(self):
        try:
            text = subprocess.run([self.path, "--version"], env=self.environment, capture_output=True, text=True).stdout
        except OSError as error:
            raise Unavailable(f"{self.path}: {error.strerror}") from None
        found = re.search(r"version (\d+)", text)
        if not found:
            raise Unavailable(f"{self.path} --version prints no version")
        return int(found.group(1))


def asset(command, make):
    """The directory that a boards/assets command prints; None if it fails, or must not create a missing one."""
    environment = dict(os.environ)
    if not make:
        environment["SWIFTLET_CACHE_ONLY"] = "yes"
    # A process group of its own, so that its children end with it when this process is interrupted.
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                               stderr=None if make else subprocess.DEVNULL, start_new_session=True)
    try:
        path, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
        raise
    return path.strip() if process.returncode == 0 else None


# Modules for the devices of a Linux guest.
GUEST_MODULES = ["virtio_mmio", "virtio_blk", "virtio-rng"]

# Modules for the connection to boards/run, unless they are built in, in the order of loading.
VIRTIO = ["virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "virtio_console"]

ARM64 = "virt,virtualization=on,gic-version="

# The two arm64 cores with the same kernel and page size are different: the Cortex-A72 has no VHE, so that KVM's
# hypervisor code is separate from the kernel; the core of the 16 KiB board has VHE. "tun" is the only module besides
# KVM that a monitor needs, for networks of guests.
BOARDS = [
    Board("arm64", "arm64", "linux-image-arm64", ["tun"], ARM64 + "3", lambda qemu: "cortex-a72",
          "an ARM64 server: GICv3, 4 KiB pages"),
    Board("arm64-gicv2", "arm64", "linux-image-arm64", ["tun"], ARM64 + "2", lambda qemu: "cortex-a72",
          "like a Raspberry Pi 4: Cortex-A72, GICv2, 4 KiB pages"),
    # QEMU 7.2 has no Cortex-A76; "max" is its only core with VHE and 16 KiB pages. pauth-impdef: the architecture's
    # pointer authentication algorithm takes half of the emulator's time.
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

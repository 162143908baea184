"""A board with a system: Debian with systemd on a disk (boards/run --system)."""

import contextlib
import os
import subprocess

import boards
import link

# In the order that they are loaded in.
MODULES = ["virtio_blk", "virtio-rng", "crc32c_generic", "crc16", "mbcache", "jbd2", "ext4", "autofs4"]
SHUTDOWN_SECONDS = 180


class SystemBoard(boards.Board):
    """A board with a disk."""

    def __init__(self, board, file=None, is_cut=False):
        """The disk is a copy of the system's: a temporary one, or that in the file, which is made where it is missing."""
        super().__init__(board.name, board.architecture, board.package, MODULES + board.modules, board.machine, board.cpu,
                         board.summary, board.least_qemu)
        self.file, self.is_cut = file, is_cut
        self.settings = " board_root=/dev/vda systemd.firstboot=off"

    def prepare(self):
        result = super().prepare()
        directory = boards.asset([os.path.join(boards.HERE, "assets"), "system", self.architecture], make=True)
        if directory is None:
            raise boards.Unavailable(f"{self.name}: its system could not be made")
        master = os.path.join(directory, "disk")
        if self.file and not os.path.exists(self.file):
            # Under another name until it is whole.
            new = f"{self.file}.{os.getpid()}.new"
            try:
                subprocess.run(["cp", "--sparse=always", "--reflink=auto", master, new], check=True)
                os.rename(new, self.file)
            except subprocess.CalledProcessError:
                raise boards.Unavailable(f"{self.name}: {self.file} could not be made") from None
            finally:
                if os.path.exists(new):
                    os.unlink(new)
        self.use(self.file or master, is_kept=self.file is not None)
        return result

    def use(self, disk, is_kept):
        # Without flushes: a power cut loses what the system has not written, not what this machine has not.
        drive = f"if=none,id=disk,format=raw,cache=unsafe,snapshot={'off' if is_kept else 'on'},file={disk.replace(',', ',,')}"
        self.devices = ["-drive", drive, "-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"]


class Machine(link.Machine):
    """A board with a system, which is shut down at the end."""

    def __init__(self, board, processors, memory, archive):
        super().__init__(board, processors or 2, memory or "1G", archive)
        self.is_cut = board.is_cut

    def end(self, is_whole=True):
        if is_whole and not self.is_cut:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self.connection.sendall(link.frame(b"k", bytes(16)))
                self.process.wait(SHUTDOWN_SECONDS)
        super().end()

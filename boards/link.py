"""A running board, and the protocol of init/init.h with its init."""

import fcntl
import os
import selectors
import socket
import struct
import subprocess
import termios
import time

# Linux performs work of its own for about two virtual seconds after it starts /init, 0.9 to 1.5 seconds after power-on.
# Starting the command at a fixed time after power-on puts it at the same point between two timer ticks each time.
QUIET_SECONDS = 4
# A fixed seed makes the addresses of the kernel and its random numbers reproducible, a fixed date its clock.
REPEATABLE = ["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm", "-seed", "1"]
# Maximum size of a frame's payload, and of input that the command has not read.
FRAME = 65536
STOPPED = "the board stopped before the command had ended"


class BoardFailure(Exception):
    pass


def memory_file(name, content=b""):
    """A file without a name, which exists while a process has it open."""
    file = os.fdopen(os.memfd_create(name, 0), "w+b")
    file.write(content)
    file.flush()
    return file


class Machine:
    """A board that is booted: its QEMU, the connection to its init, and the files with messages of QEMU and the kernel."""

    def __init__(self, board, cpus, memory, archive=b"", icount=False):
        """The archive's files are added to the initial file system. Without a command among them the board is kept."""
        qemu, kernel, base = board.prepare()
        with open(os.path.join(base, "base.cpio"), "rb") as file:
            files = memory_file("initramfs", file.read() + archive)
        console, complaints = memory_file("console"), memory_file("complaints")
        self.messages = marks([complaints, console])
        self.connection, there = socket.socketpair()
        settings = (f"console={board.console} loglevel=3 panic=-1 board_name={board.name} "
                    f"board_modules={','.join(board.modules)}")
        settings += board.settings
        if icount:
            settings += f" board_start_at={QUIET_SECONDS}"
        else:
            # At a random address the kernel also unmaps itself from processes (KPTI), and each entry flushes the
            # emulator's translations: this takes an eighth of a Cortex-A72's time. Instruction counts are those of a
            # kernel as distributions start it.
            settings += " nokaslr"
        # ioeventfd=off: output is sent by the guest's own store, so that the timing of another thread does not change
        # the instruction count.
        words = [
            qemu.path, *qemu.options, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-M", board.machine, "-cpu", board.cpu(qemu), "-smp", str(cpus), "-m", memory,
            "-kernel", os.path.join(kernel, "Image"), "-initrd", f"/proc/self/fd/{files.fileno()}", "-append", settings,
            "-serial", f"file:/proc/self/fd/{console.fileno()}",
            "-chardev", f"socket,id=link,fd={there.fileno()}",
            "-device", "virtio-serial-pci,ioeventfd=off", "-device", "virtserialport,chardev=link,nr=1", *board.devices,
        ]
        if icount:
            words += REPEATABLE
        # The kernel ends QEMU if this process is killed.
        self.process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *words], env=qemu.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=complaints, pass_fds=[files.fileno(), console.fileno(), there.fileno()])
        there.close()
        files.close()

    def end(self, _=True):
        self.process.kill()
        self.process.wait()


def frame(kind, payload=b""):
    return kind + struct.pack("<I", len(payload)) + payload


def take_frames(incoming):
    """Removes complete frames from the start of a bytearray: (kind, payload) of each."""
    start = 0
    while len(incoming) - start >= 5:
        kind, length = struct.unpack_from("<cI", incoming, start)
        if len(incoming) - start < 5 + length:
            break
        yield kind, incoming[start + 5:start + 5 + length]
        start += 5 + length
    del incoming[:start]


def beginning_of_run(archive):
    """The frames that make a kept board run the archive's command."""
    pieces = (archive[start:start + FRAME] for start in range(0, len(archive), FRAME))
    return frame(b"b", struct.pack("<q", time.time_ns())) + b"".join(frame(b"a", piece) for piece in pieces)


class Conversation:
    """Transfers input, output and exit status of the command."""

    def __init__(self, connection, with_terminal, first=b""):
        """The bytes `first` are sent first."""
        self.connection = connection
        self.connection.setblocking(False)
        self.outgoing, self.incoming = bytearray(first), bytearray()
        self.with_terminal = with_terminal
        self.untaken = 0  # bytes of input
        self.status = None

    def send_terminal_size(self, *_):
        if os.isatty(0):
            self.outgoing += frame(b"w", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8))[:4])

    def run(self):
        """Transfers data until the command has ended; returns its exit status."""
        # poll accepts regular files, unlike epoll.
        selector = selectors.PollSelector()
        selector.register(self.connection, selectors.EVENT_READ)
        reading_input = input_ended = False
        while self.status is None:
            wanted = not input_ended and self.untaken < FRAME and len(self.outgoing) < FRAME
            if wanted != reading_input:
                selector.register(0, selectors.EVENT_READ) if wanted else selector.unregister(0)
                reading_input = wanted
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.outgoing else 0)
            selector.modify(self.connection, events)
            # A change of the terminal's size is only reported by a signal.
            for key, ready in selector.select(0.5 if self.with_terminal else None):
                if key.fd == 0:
                    input_ended = self.take_input()
                elif ready & selectors.EVENT_READ:
                    self.receive()
                elif ready & selectors.EVENT_WRITE:
                    self.send()
        return self.status

    def take_input(self):
        """Sends available standard input; true at its end."""
        try:
            some = os.read(0, FRAME - self.untaken)
        except OSError:
            some = b""
        self.outgoing += frame(b"i", some)
        self.untaken += len(some)
        return not some

    def send(self):
        try:
            del self.outgoing[:self.connection.send(self.outgoing)]
        except ConnectionError:
            raise BoardFailure(STOPPED) from None

    def receive(self):
        try:
            some = self.connection.recv(262144)
        except ConnectionError:
            some = b""
        if not some:
            raise BoardFailure(STOPPED)
        self.incoming += some
        for kind, payload in take_frames(self.incoming):
            self.take_frame(kind, payload)

    def take_frame(self, kind, payload):
        if kind == b"x":
            self.status = payload[0]
        elif kind == b"f":
            raise BoardFailure("the board could not start the command: " + payload.decode(errors="replace"))
        elif kind == b"t":
            self.untaken -= struct.unpack("<I", payload)[0]
        else:
            left = memoryview(payload)
            while left:
                left = left[os.write(2 if kind == b"e" else 1, left):]


def marks(files):
    """The current ends of a board's message files, so that later messages can be shown."""
    return [(file, os.fstat(file.fileno()).st_size) for file in files]


def last_lines(messages, most):
    """The last lines of each file since marks()."""
    lines = []
    for file, start in messages:
        # Not with read, which would change the offset at which QEMU writes.
        text = os.pread(file.fileno(), os.fstat(file.fileno()).st_size - start, start)
        lines += text.decode(errors="replace").splitlines()[-most:]
    return lines

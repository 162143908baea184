"""Kept boards: the process that keeps one, and its clients.

A keeper holds a lock on NAME.lock and listens on NAME.socket, both in directory(). When its process ends, for any reason,
the kernel releases the lock and refuses connections, and its QEMU ends, too.
Clients first get a packet (JSON) that describes the board. Then they may send "wait", answered by {"ready": true} when
the board has booted, or "run", answered by {"run": true} when it is assigned to them, together with the descriptors of
the connection to its init and of its messages. A board is assigned to a client until that closes its side or shuts it
down; the keeper then cleans up, answers with {"reset": REASON or null}, and assigns it to the next client.
If a board cannot be booted, the answer is {"failed": REASON}, and the keeper ends.
"""

import fcntl
import hashlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time

import boards
import link

BOOT_SECONDS = 120
CLEAN_UP_SECONDS = 15
IDLE_SECONDS = 8 * 3600


def directory():
    """The directory of sockets and locks, accessible only to this user."""
    runtime, cache = os.environ.get("XDG_RUNTIME_DIR"), os.environ.get("SWIFTLET_CACHE")
    if runtime or not cache:
        cache = os.path.join(runtime or os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "swiftlet")
    path = os.path.join(cache, "boards")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path


def fingerprint():
    """A digest of everything that a booted board is made from."""
    digest = hashlib.sha256()
    inner = os.path.join(boards.HERE, "init")
    paths = [os.path.join(inner, name) for name in sorted(os.listdir(inner))]
    paths += [os.path.join(boards.HERE, name) for name in ("assets", "initramfs.py", "boards.py", "link.py", "keeper.py")]
    for path in paths:
        with open(path, "rb") as file:
            digest.update(file.read() + b"\0")
    return digest.hexdigest()[:12]


def seqpacket(name, call):
    """A socket for NAME.socket, by a short path, since its maximum length is 107 bytes."""
    place = os.open(directory(), os.O_RDONLY | os.O_DIRECTORY)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        call(connection, f"/proc/self/fd/{place}/{name}.socket")
        return connection
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(place)


def send(connection, message, files=()):
    """Sends a packet; false if the other side has closed the connection."""
    try:
        socket.send_fds(connection, [json.dumps(message).encode()], files)
        return True
    except OSError:
        return False


class Handshake:
    """Requests a clean-up, or just an answer, from a board's init."""

    def __init__(self, connection, seconds):
        self.connection = connection
        self.deadline = time.monotonic() + seconds
        nonce = os.urandom(16)
        # The zeros complete a frame that a client may have left incomplete.
        self.question = bytes(link.FRAME + 5) + link.frame(b"k", nonce)
        self.answer = link.frame(b"d", nonce)
        self.received = b""

    @property
    def events(self):
        return select.POLLIN | (select.POLLOUT if self.question else 0)

    def proceed(self, events):
        """Whether the board has answered."""
        try:
            if events & select.POLLOUT:
                self.question = self.question[self.connection.send(self.question):]
            if events & ~select.POLLOUT:
                self.received += self.connection.recv(1 << 20)
        except OSError:
            return False  # the end of QEMU is detected elsewhere
        # Data that a client has not read may begin in the middle of a frame.
        if self.answer in self.received:
            return True
        self.received = self.received[-len(self.answer):]
        return False


class Keeper:
    """The states: "starting", "ready" for a run, "busy" with one, "cleaning" up after it."""

    def __init__(self, board, cpus, memory):
        self.board, self.cpus, self.memory = board, cpus, memory
        self.hello = {"cpus": cpus, "memory": memory, "fingerprint": fingerprint(), "since": time.time()}
        self.path = os.path.join(directory(), board.name + ".socket")
        if os.path.lexists(self.path):
            os.unlink(self.path)
        self.listener = seqpacket(board.name, socket.socket.bind)
        self.listener.listen(64)
        self.place = os.stat(self.path)
        self.peers = {}          # by descriptor: clients by descriptor
        self.waiting, self.queue = [], []
        self.borrower = None     # while busy and cleaning
        self.machine = None
        self.handshake = None    # while starting and cleaning
        self.state = "starting"
        self.used = time.monotonic()

    def run(self):
        """Returns when the board is to end; raises link.BoardFailure if it cannot be started."""
        self.boot()
        while self.is_wanted():
            for descriptor, events in self.poll():
                if descriptor == self.listener.fileno():
                    self.accept()
                elif descriptor in self.peers:
                    self.hear(self.peers[descriptor])
                elif descriptor == self.ended:
                    self.restart("stopped")
                    break  # the other descriptors may have been reused
                elif self.handshake and self.handshake.proceed(events):
                    self.become_ready()
            if self.handshake and time.monotonic() > self.handshake.deadline:
                self.restart("did not answer")
            self.serve_queues()

    def poll(self):
        poll = select.poll()
        for descriptor in (self.listener.fileno(), self.ended, *self.peers):
            poll.register(descriptor, select.POLLIN)
        seconds = 60
        if self.handshake:
            poll.register(self.machine.connection, self.handshake.events)
            seconds = min(seconds, max(0, self.handshake.deadline - time.monotonic()))
        return poll.poll(seconds * 1000 + 1)

    def is_wanted(self):
        """Whether the socket still exists, and the board was used recently."""
        try:
            place = os.stat(self.path)
        except OSError:
            return False
        busy = self.state != "ready" or time.monotonic() - self.used < IDLE_SECONDS
        return busy and os.path.samestat(place, self.place)

    def boot(self):
        self.machine = link.Machine(self.board, self.cpus, self.memory)
        self.machine.connection.setblocking(False)
        self.ended = os.pidfd_open(self.machine.process.pid)
        self.state, self.handshake = "starting", Handshake(self.machine.connection, BOOT_SECONDS)

    def restart(self, how):
        """Boots the board again."""
        if self.state == "starting":
            lines = link.last_lines(self.machine.messages, 20)
            raise link.BoardFailure("\n".join([*lines, f"{self.board.name} {how} while it booted"]))
        self.machine.end()
        self.machine.connection.close()
        os.close(self.ended)
        self.take_back(f"{self.board.name} {how}: it is being started anew")
        self.boot()

    def become_ready(self):
        self.state, self.handshake = "ready", None
        self.take_back(None)

    def take_back(self, reset):
        self.used = time.monotonic()
        if self.borrower:
            send(self.borrower, {"reset": reset})
            self.forget(self.borrower)
            self.borrower = None

    def serve_queues(self):
        while self.waiting and self.state != "starting":
            send(self.waiting[0], {"ready": True})
            self.forget(self.waiting[0])
        while self.queue and self.state == "ready":
            peer = self.queue.pop(0)
            files = [self.machine.connection, *(file for file, _ in self.machine.messages)]
            if send(peer, {"run": True}, [file.fileno() for file in files]):
                self.state, self.borrower = "busy", peer
            else:
                self.forget(peer)

    def accept(self):
        try:
            peer, _ = self.listener.accept()
        except OSError:
            return
        # A client that does not read must not block the others.
        peer.setblocking(False)
        state = "busy" if self.state == "ready" and self.queue else self.state
        if send(peer, self.hello | {"state": state}):
            self.peers[peer.fileno()] = peer

    def hear(self, peer):
        try:
            word = peer.recv(16)
        except BlockingIOError:
            return
        except OSError:
            word = b""
        if peer is self.borrower:
            # The client may still read the error.
            del self.peers[peer.fileno()]
            if self.state == "busy":
                self.state, self.handshake = "cleaning", Handshake(self.machine.connection, CLEAN_UP_SECONDS)
        elif word == b"run":
            self.queue.append(peer)
        elif word == b"wait":
            self.waiting.append(peer)
        else:
            self.forget(peer)

    def forget(self, peer):
        self.peers.pop(peer.fileno(), None)
        for group in (self.queue, self.waiting):
            if peer in group:
                group.remove(peer)
        peer.close()

    def end(self):
        if self.machine:
            self.machine.end()
        try:
            if os.path.samestat(os.stat(self.path), self.place):
                os.unlink(self.path)
        except OSError:
            pass


def log_path(name):
    return os.path.join(directory(), name + ".log")


def start(name, cpus, memory):
    """Starts a keeper unless there is one. Its process holds the lock until its end."""
    lock = os.open(os.path.join(directory(), name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with open(log_path(name), "wb") as log:
            subprocess.Popen([sys.executable, os.path.abspath(__file__), name, str(cpus), memory], cwd="/",
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, pass_fds=[lock],
                             start_new_session=True)
    except BlockingIOError:
        pass
    finally:
        os.close(lock)


class Kept:
    """A client's connection to a board's keeper."""

    def __init__(self, name):
        """Raises OSError if the board is not up."""
        self.name = name
        self.connection = seqpacket(name, socket.socket.connect)
        # The kernel records the process that called listen.
        self.keeper = struct.unpack("3i", self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]

    def receive(self):
        """The keeper's next packet."""
        try:
            packet, self.files, _, _ = socket.recv_fds(self.connection, 1 << 20, 3)
        except ConnectionError:
            packet = b""
        if not packet:
            raise link.BoardFailure(f"{self.name} was taken down")
        message = json.loads(packet)
        if "failed" in message:
            raise link.BoardFailure(message["failed"])
        return message

    def ask(self, word, on_delay):
        """Waits for the keeper's answer to a command; on_delay is called if it takes long."""
        try:
            self.connection.send(word)
        except ConnectionError:
            pass  # receive reports this
        if not select.select([self.connection], [], [], 2)[0]:
            on_delay()
        return self.receive()

    def take_down(self):
        """Ends the board, and its current run. True when its keeper has ended."""
        ended = os.pidfd_open(self.keeper)
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(ended, number)
            if select.select([ended], [], [], 5)[0]:
                return True
        return False


class Loan:
    """A kept board during a run: the counterpart of link.Machine."""

    def __init__(self, kept, on_delay):
        self.kept = kept
        kept.ask(b"run", on_delay)
        connection, *messages = kept.files
        self.connection = socket.socket(fileno=connection)
        self.messages = link.marks([open(file, "rb", buffering=0) for file in messages])

    def end(self, complete):
        """Releases the board, after waiting for the end of the command. Returns an error, or None."""
        if complete:
            return None
        try:
            self.kept.connection.settimeout(2 * CLEAN_UP_SECONDS)
            self.kept.connection.shutdown(socket.SHUT_WR)
            return self.kept.receive()["reset"]
        except (link.BoardFailure, OSError) as failure:
            return str(failure)


def find(name):
    """The connection to a board that is up, and its description ("hello"); None if it is not up."""
    try:
        kept = Kept(name)
        kept.connection.settimeout(5)
        hello = kept.receive()
        kept.connection.settimeout(None)
        return kept, hello
    except (OSError, link.BoardFailure):
        return None


def main(name, cpus, memory):
    def on_signal(*_):
        sys.exit()

    ending = signal.SIGINT, signal.SIGTERM, signal.SIGHUP
    for number in ending:
        signal.signal(number, on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)
    keeper = Keeper(boards.find(name), int(cpus), memory)
    try:
        keeper.run()
    except (link.BoardFailure, boards.Unavailable, OSError) as failure:
        for peer in keeper.queue + keeper.waiting:
            send(peer, {"failed": str(failure)})
    finally:
        keeper.end()


if __name__ == "__main__":
    main(*sys.argv[1:4])

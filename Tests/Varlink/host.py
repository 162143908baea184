"""usage: host.py PROGRAM

Good and bad clients of a daemon on this machine, with PyPI's varlink client and without. Nothing here needs KVM.
"""
import faulthandler
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import varlink

PROGRAM = sys.argv[1]
DIRECTORY = tempfile.mkdtemp(prefix="swiftlet-varlink-")
SOCKET = os.path.join(DIRECTORY, "control.sock")
INFO = b'{"method":"org.varlink.service.GetInfo"}\0'


class Daemon:
    """A daemon that is ready, until its end."""

    def __init__(self, *options, **more):
        notify = os.path.join(DIRECTORY, "notify.sock")
        if os.path.exists(notify):
            os.unlink(notify)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(notify)
        listener.settimeout(60)
        self.notify = listener
        self.log = open(os.path.join(DIRECTORY, "log"), "w+")
        # Freed memory that the address sanitizer keeps counts as the daemon's.
        asan = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=8"
        self.process = subprocess.Popen(
            [PROGRAM, "daemon", "--socket", SOCKET, "--state", os.path.join(DIRECTORY, "state"), *options],
            stderr=self.log, env=dict(os.environ, NOTIFY_SOCKET=notify, ASAN_OPTIONS=asan), **more)
        assert listener.recv(100) == b"READY=1"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0 or kind
        assert kind or self.notify.recv(100) == b"STOPPING=1"

    def lines(self):
        self.log.seek(0)
        return self.log.read().splitlines()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def comes_to(self, most):
        """Waits until the daemon has at most this number of descriptors, which it closes asynchronously."""
        for _ in range(200):
            if self.descriptors() <= most:
                return
            time.sleep(0.1)
        raise AssertionError(f"{self.descriptors()} descriptors, not {most}: {self.lines()}")


def connect():
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(SOCKET)
    return connection


def read_message(connection):
    data = b""
    while not data.endswith(b"\0"):
        some = connection.recv(1)
        if not some:
            return None
        data += some
    return json.loads(data[:-1])


def ask(message):
    with connect() as connection:
        connection.sendall(message)
        return read_message(connection)


def is_well():
    assert ask(INFO)["parameters"]["product"] == "swiftlet"


def with_the_client_of_pypi():
    with varlink.Client(address="unix:" + SOCKET) as client:
        assert client.get_interfaces() == ["org.varlink.service", "org.swiftlet.Control"], client.get_interfaces()
        with client.open("org.swiftlet.Control") as control:
            assert control.List() == {"applets": []}
            for method, parameters, error in [
                    ("Wait", {"name": "a"}, "org.swiftlet.Control.NoSuchApplet"),
                    ("Wait", {"name": "../a"}, "org.varlink.service.InvalidParameter"),
                    ("StartAgain", {"name": "a"}, "org.swiftlet.Control.NoSuchApplet"),
                    ("Start", {"image": "/nowhere"}, "org.swiftlet.Control.BadImage"),
                    ("Start", {"image": "/etc/passwd", "memory": -1}, "org.varlink.service.InvalidParameter"),
                    ("Start", {"image_descriptor": 3}, "org.varlink.service.InvalidParameter"),
                    # This host cannot run applets, as the applet's process reports.
                    ("Start", {"image": "/etc/passwd"}, "org.swiftlet.Control.HostFailure"),
            ]:
                try:
                    getattr(control, method)(**parameters)
                    raise AssertionError(f"{method} {parameters} was answered")
                except varlink.VarlinkError as raised:
                    assert raised.error() == error, (method, parameters, raised)
    assert ask(b'{"method":"org.nowhere.X"}\0')["error"] == "org.varlink.service.InterfaceNotFound"
    assert ask(b'{"method":"org.swiftlet.Control.X"}\0')["error"] == "org.varlink.service.MethodNotFound"


def garbage():
    for bytes in [b"\0", b"GET / HTTP/1.1\r\n\r\n\0", os.urandom(4000) + b"\0", b"[]\0", b'{"method":1}\0', b"[" * 100000 + b"\0"]:
        assert ask(bytes) is None, bytes[:20]
        is_well()


def half_a_message():
    connection = connect()
    connection.sendall(INFO[:10])
    is_well()
    connection.sendall(INFO[10:])
    assert read_message(connection)["parameters"]
    connection.sendall(INFO[:10])
    connection.shutdown(socket.SHUT_WR)
    assert read_message(connection) is None
    connection.close()


def over_a_mebibyte():
    connection = connect()
    try:
        connection.sendall(b'{"method":"' + b"a" * (1 << 20))
        connection.sendall(b"a" * (1 << 20))
        assert read_message(connection) is None
    except (BrokenPipeError, ConnectionResetError):
        pass
    is_well()


def ten_thousand_without_reading(daemon):
    connection = connect()
    message = b'{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"org.swiftlet.Control"}}\0'
    connection.setblocking(False)
    rest = message * 10000
    deadline = time.monotonic() + 2
    while rest and time.monotonic() < deadline:
        try:
            rest = rest[connection.send(rest):]
        except BlockingIOError:
            time.sleep(0.02)
    assert rest, "the daemon has taken everything"
    is_well()
    with open(f"/proc/{daemon.process.pid}/statm") as file:
        assert int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE") < 64 << 20
    # Now it reads, and gets an answer to each.
    connection.setblocking(True)
    answers, data = 0, b""
    while answers < 10000:
        connection.setblocking(False)
        try:
            while rest:
                rest = rest[connection.send(rest):]
        except BlockingIOError:
            pass
        connection.setblocking(True)
        some = connection.recv(1 << 20)
        assert some
        answers += some.count(b"\0")
    connection.close()


def gone_amid_a_call(daemon):
    before = daemon.descriptors()
    for _ in range(100):
        connection = connect()
        connection.sendall(b'{"method":"org.swiftlet.Control.Events","more":true}\0' + INFO * 50)
        connection.close()
    is_well()
    daemon.comes_to(before)


def descriptors_exhausted(daemon):
    """Sends descriptors without a call for them, and opens more connections than there are descriptors."""
    before = daemon.descriptors()
    with connect() as connection, open("/dev/null") as null:
        for _ in range(50):
            socket.send_fds(connection, [b"x"], [null.fileno()] * 16)
        is_well()
        # The connection, and the few descriptors of a call.
        daemon.comes_to(before + 5)
    connections = []
    try:
        for _ in range(300):
            connections.append(connect())
    except BlockingIOError:
        pass  # the daemon takes no more, and as many as may wait are waiting
    for connection in connections:
        connection.close()
    # It handles those connections first.
    for _ in range(100):
        try:
            return is_well()
        except BlockingIOError:
            time.sleep(0.1)
    is_well()


def relay(path):
    """A socket that forwards bytes to the daemon's, and no descriptors, as ssh does."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def forward(source, target):
        while some := source.recv(1 << 16):
            target.sendall(some)
        target.shutdown(socket.SHUT_WR)

    def serve():
        while True:
            near, far = listener.accept()[0], connect()
            for pair in [(near, far), (far, near)]:
                threading.Thread(target=forward, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()


def forwarded():
    """An image is sent along where its descriptor does not arrive."""
    path = os.path.join(DIRECTORY, "relay.sock")
    relay(path)
    image = os.path.join(DIRECTORY, "image")
    for size, reason in [(1_500_000, b"this host is neither"), (40 << 20, b"has at most 32 MiB")]:
        with open(image, "wb") as file:
            file.truncate(size)
        run = subprocess.run([PROGRAM, "start", "--socket", path, image], stderr=subprocess.PIPE)
        assert run.returncode == 123 and reason in run.stderr, run
    # What was sent is for one Start only.
    with connect() as connection:
        def call(method, parameters):
            connection.sendall(json.dumps({"method": "org.swiftlet.Control." + method, "parameters": parameters}).encode() + b"\0")
            return read_message(connection)
        # The daemon may not have seen the end of the client before, and its image counts until then.
        while (first := call("Upload", {"data": "QUJD"})).get("error") == "org.swiftlet.Control.HostFailure":
            time.sleep(0.05)
        assert first["parameters"] == {"size": 3}, first
        assert call("Upload", {"data": "QUJD"})["parameters"] == {"size": 6}
        assert call("Upload", {"data": "?"})["error"] == "org.varlink.service.InvalidParameter"
        start = {"name": "a", "image": "/a", "image_uploaded": True}
        assert call("Start", start)["error"] == "org.swiftlet.Control.HostFailure"
        refused = call("Start", start)
        assert refused["error"] == "org.varlink.service.InvalidParameter", refused
        assert refused["parameters"] == {"parameter": "image_uploaded"}, refused


def strangers():
    """A peer whose connection the socket's mode permits, but whose credentials are not permitted."""
    if os.geteuid() != 0:
        print("host.py: not root: no test of strangers", file=sys.stderr)
        return
    os.chmod(SOCKET, 0o666)
    os.chmod(DIRECTORY, 0o755)
    for groups, expected in [([], b"org.varlink.service.PermissionDenied"), ([4711], b"swiftlet")]:
        readable, writable = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgroups(groups)
            os.setgid(65534)
            os.setuid(65534)
            peer = connect()
            try:
                peer.sendall(INFO)
            except BrokenPipeError:
                pass
            os.write(writable, peer.recv(1000))
            os._exit(0)
        os.close(writable)
        assert os.waitpid(child, 0)[1] == 0
        answer = os.read(readable, 1000)
        os.close(readable)
        assert expected in answer, (groups, answer)


def socket_activation():
    listener = socket.socket(socket.AF_UNIX)
    path = os.path.join(DIRECTORY, "handed.sock")
    listener.bind(path)
    listener.listen()

    def hand_over():
        os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)  # where it is number 3 already

    # preexec_fn cannot change the environment of the program: a shell sets it.
    process = subprocess.Popen(
        ["sh", "-c", f'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$0" daemon --state "$1"', PROGRAM, os.path.join(DIRECTORY, "state2")],
        preexec_fn=hand_over, close_fds=False, stderr=subprocess.DEVNULL)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(path)
    connection.sendall(INFO)
    assert read_message(connection)["parameters"]["product"] == "swiftlet"
    # A reload keeps the socket; clients connect again.
    process.send_signal(signal.SIGHUP)
    assert connection.recv(1) == b""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(60)
    connection.connect(path)
    connection.sendall(INFO)
    assert read_message(connection)["parameters"]
    process.terminate()
    assert process.wait(60) == 0


def reload(daemon):
    """SIGHUP, as reported to systemd; the process ID does not change."""
    daemon.process.send_signal(signal.SIGHUP)
    assert daemon.notify.recv(100) == b"RELOADING=1"
    assert daemon.notify.recv(100) == b"READY=1"
    is_well()


BASH = """
. "$1"; shift; COMP_WORDS=(swiftlet "$@"); COMP_CWORD=$#; _swiftlet; printf '%s\\n' "${COMPREPLY[@]}"
"""
# Without zsh's own handling of a list: its functions here print their arguments.
ZSH = """
compadd() { if [[ $1 = -a ]]; then print -l -- ${(P)2}; else print -l -- "$@"; fi }
_describe() { print -l -- ${${(P)2}%%:*} }
_files() { print -- a-file }
file=$1; shift; words=(swiftlet "$@"); CURRENT=$#words; set --; . "$file"
"""


def completions():
    """The shells' completions after some arguments, with a daemon without applets."""
    directory = os.path.join(DIRECTORY, "bin")
    os.mkdir(directory)
    os.symlink(os.path.abspath(PROGRAM), os.path.join(directory, "swiftlet"))
    share = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../share")
    for shell, script, file in [("bash", BASH, "bash-completion/swiftlet"), ("zsh", ZSH, "zsh/_swiftlet")]:
        if shutil.which(shell) is None:
            print(f"host.py: no {shell} on this machine: its completions are not tried", file=sys.stderr)
            continue
        for words, offered in [
                (["star"], {"start"}),
                # bash divides words at "=".
                *([(["ps", "--filter", "st"], {"state="}), (["ps", "--filter", "state", "=", "st"], {"starting", "stopped"})]
                  if shell == "bash" else [(["ps", "--filter", "state=st"], {"state=starting", "state=stopped"})]),
                (["start", "--cp"], {"--cpu-budget", "--cpus", "--cpu-percent"}),
                (["daemon", "--cg"], {"--cgroup"}),
                (["daemon", "--log-format", "j"], {"json"}),
                (["start", "--restart", "on"], {"on-failure"}),
                (["stop", ""], set()),
                (["help", "att"], {"attach"}),
        ]:
            run = subprocess.run([shell, "-c", script, shell, os.path.join(share, file), *words], stdout=subprocess.PIPE,
                                 text=True, check=True, env=dict(
                                     os.environ, PATH=directory + ":" + os.environ["PATH"], SWIFTLET_SOCKET=SOCKET))
            found = {word for word in run.stdout.split() if word.startswith(words[-1])}
            assert found == offered, (shell, words, run.stdout)
        # With a program that has applets.
        other = os.path.join(DIRECTORY, "applets-" + shell)
        os.mkdir(other)
        with open(os.path.join(other, "swiftlet"), "w", encoding="utf-8") as file_:
            file_.write('#!/bin/sh\ncase "$*" in "ps --quiet") echo ended;; esac; echo running\n')
        os.chmod(os.path.join(other, "swiftlet"), 0o755)
        for words, offered in [(["stop", ""], {"running"}), (["restart", ""], {"ended", "running"}), (["logs", "e"], {"ended"})]:
            run = subprocess.run([shell, "-c", script, shell, os.path.join(share, file), *words], stdout=subprocess.PIPE,
                                 text=True, check=True, env=dict(os.environ, PATH=other + ":" + os.environ["PATH"]))
            assert {word for word in run.stdout.split() if word.startswith(words[-1])} == offered, (shell, words, run.stdout)


def main():
    # Prints the location when the test hangs.
    faulthandler.dump_traceback_later(600, exit=True)
    with Daemon("--group", "4711", "--log-format", "json") as daemon:
        with_the_client_of_pypi()
        garbage()
        half_a_message()
        over_a_mebibyte()
        ten_thousand_without_reading(daemon)
        gone_amid_a_call(daemon)
        descriptors_exhausted(daemon)
        strangers()
        forwarded()
        reload(daemon)
        completions()
        second = subprocess.run([PROGRAM, "daemon", "--socket", SOCKET, "--state", DIRECTORY + "/x"], stderr=subprocess.PIPE)
        assert second.returncode == 123 and b"in use by another daemon" in second.stderr, second
        # The lock was held across the reload.
        second = subprocess.run([PROGRAM, "daemon", "--socket", SOCKET + "2", "--state", DIRECTORY + "/state"], stderr=subprocess.PIPE)
        assert second.returncode == 123 and b"in use by another daemon" in second.stderr, second
        assert not os.path.exists(SOCKET + "2")
        events = [json.loads(line)["event"] for line in daemon.lines()]
        assert events[0] == "ready" and "start failed" in events, events
    assert not os.path.exists(SOCKET)
    socket_activation()
    print("well")


if __name__ == "__main__":
    main()

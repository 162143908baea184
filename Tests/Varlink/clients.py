"""usage: clients.py FAULTS [TEST]...

Clients that do harm: what one of them sends must hold up, lock out or break nobody else. See workers.py.
"""
import contextlib
import fcntl

from workers import *

USER, GROUP = 1234, 1234


@contextlib.contextmanager
def user(number=USER):
    """Connections made meanwhile are by that user (SO_PEERCRED)."""
    os.setegid(GROUP)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def lingering():
    """A TCP socket whose last close(2) blocks for a minute, because its data is not read."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    sender = socket.create_connection(listener.getsockname())
    other, _ = listener.accept()
    sender.setblocking(False)
    for _ in range(20):
        with contextlib.suppress(BlockingIOError):
            while True:
                sender.send(bytes(65536))
        time.sleep(0.005)
    sender.setblocking(True)
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, (1).to_bytes(4, sys.byteorder) + (60).to_bytes(4, sys.byteorder))
    return sender, (listener, other)


CALL = b'{"method":"org.varlink.service.GetInfo"}\0'


def send(connection, data, descriptors, flags=0):
    connection.socket.sendmsg(
        [data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else [], flags)


def answers(daemon):
    began = time.monotonic()
    Connection(daemon.path).call("Metrics")
    assert time.monotonic() - began < 30, "another client had to wait"


def test_descriptors_that_cannot_be_closed():
    ways = {
        "with a call": lambda c, fd: send(c, CALL, [fd]),
        "with half a call": lambda c, fd: send(c, CALL[:5], [fd]),
        "more than a call takes": lambda c, fd: send(c, CALL, [os.open("/dev/null", os.O_RDONLY) for _ in range(4)] + [fd]),
        "with no call": lambda c, fd: send(c, b"x\0", [fd]),
        "behind what is no call": lambda c, fd: send(c, b"x\0" + CALL, [fd]),
        "urgently": lambda c, fd: (send(c, b"x", [fd], socket.MSG_OOB), send(c, CALL, [])),
    }
    with Daemon(DAEMON_GROUP=str(GROUP)) as daemon:
        kept = []
        for name, way in ways.items():
            for leaves in [False, True]:
                sender, others = lingering()
                kept.append(others)
                with user():
                    connection = Connection(daemon.path)
                way(connection, sender.fileno())
                sender.close()
                if leaves:
                    connection.socket.close()
                time.sleep(0.05)
                answers(daemon)
                kept.append(connection)
        # Nor does the image of a start, which is passed on first.
        sender, others = lingering()
        connection = Connection(daemon.path)
        connection.send("Start", [sender.fileno()], name="a", image_descriptor=0)
        sender.close()
        answers(daemon)
        daemon.reload()
        answers(daemon)
        # A connection that is not accepted yet.
        os.kill(daemon.process.pid, signal.SIGSTOP)
        sender, more = lingering()
        with user():
            connection = Connection(daemon.path)
        send(connection, CALL, [sender.fileno()])
        sender.close()
        daemon.process.send_signal(signal.SIGTERM)
        daemon.process.send_signal(signal.SIGCONT)
        assert daemon.process.wait(30) == 0


def refused(connection):
    try:
        return connection.call("Metrics") and False
    except (Failed, AssertionError, BrokenPipeError, ConnectionResetError):
        return True


def test_places_for_others():
    with Daemon(DAEMON_GROUP=str(GROUP)) as daemon:
        with user():
            mine = [Connection(daemon.path) for _ in range(60)]
        # They are served in order; the last ones are rejected.
        served = [not refused(connection) for connection in mine]
        assert served.count(True) == 48, served
        users = []
        for number in range(2000, 2006):
            with user(number):
                users += [Connection(daemon.path) for _ in range(48)]
        assert [not refused(connection) for connection in users].count(True) == 192 - 48
        answers(daemon)
        for connection in mine:
            connection.socket.close()
        wait_until(lambda: daemon.call("Metrics")["connections"] < 150, "room")
        with user():
            assert not refused(Connection(daemon.path))


def resident(daemon):
    return daemon.call("Metrics")["resident"]


def test_bytes_of_a_user():
    with Daemon(DAEMON_GROUP=str(GROUP)) as daemon:
        before = resident(daemon)
        hogs = []
        for _ in range(12):
            with user():
                hogs.append(Connection(daemon.path))
            hogs[-1].socket.settimeout(5)
            with contextlib.suppress(OSError):
                hogs[-1].socket.sendall(b" " * ((1 << 20) - 1))
        answers(daemon)
        # The address sanitizer keeps freed memory for a while.
        if "/address/" not in sys.argv[1]:
            assert resident(daemon) - before < 16 << 20, (before, resident(daemon))
        assert any("client left" in line and "buffer limit" in line for line in daemon.lines())
        # A small call of the same user is still answered.
        with user():
            answers(daemon)
        # Root has no limit.
        connection = Connection(daemon.path)
        connection.socket.sendall(b" " * ((1 << 20) - 100) + CALL)
        assert connection.receive()["product"] == "swiftlet"


def test_clients_that_never_call():
    with Daemon(DAEMON_GROUP=str(GROUP), DAEMON_PATIENCE="2000") as daemon:
        root = Connection(daemon.path)
        with user():
            silent, half, calling = (Connection(daemon.path) for _ in range(3))
        send(half, CALL[:7], [])
        calling.call("Metrics")
        for lazy in [silent, half]:
            assert lazy.socket.recv(1) == b""
        time.sleep(2.2)
        # A client that has made a call may be inactive, and root always.
        assert calling.call("Metrics") and root.call("Metrics")
        # A later incomplete call is not allowed.
        send(calling, CALL[:7], [])
        assert calling.socket.recv(1) == b""


def upload(size, *connections):
    piece = base64.b64encode(bytes(64 << 10)).decode()
    for _ in range(size >> 16):
        for connection in connections:
            connection.call("Upload", data=piece)


def test_images_that_are_never_started():
    with Daemon(DAEMON_GROUP=str(GROUP), DAEMON_PATIENCE="5000", DAEMON_UPLOADS=str(2 << 20)) as daemon:
        hogs = []
        for number in [USER, USER + 1]:
            with user(number):
                hogs.append(Connection(daemon.path))
        upload(1 << 20, *hogs)
        with user(USER + 2):
            other = Connection(daemon.path)
        fails("HostFailure", upload, 1 << 20, other)
        # Root has a place.
        upload(1 << 20, Connection(daemon.path))
        # Other calls do not keep them: only another piece does, or a start.
        began = time.monotonic()
        with contextlib.suppress(OSError, AssertionError):
            while time.monotonic() < began + 40:
                hogs[0].call("Metrics")
                time.sleep(0.5)
        assert time.monotonic() < began + 40, "it is still served"
        assert hogs[1].socket.recv(1) == b""
        with user(USER + 2):
            upload(1 << 20, Connection(daemon.path))


def test_lists_that_one_reply_does_not_hold():
    with Daemon() as daemon:
        path = "/" + "<" * 4090
        with open(daemon.script(HANGING)) as script:
            for number in range(50):
                daemon.connection.call("Start", [script.fileno()], name=f"a{number}", image=path, image_descriptor=0)
        fails("ExpectedMore", daemon.call, "List")
        connection = Connection(daemon.path)
        connection.send("List", more=True)
        data = b""
        while data.count(b"\0") == 0 or b'"continues":true' in data.rsplit(b"\0", 2)[-2][-100:]:
            data += connection.socket.recv(1 << 16)
        pieces = [json.loads(piece) for piece in data.split(b"\0")[:-1]]
        assert all(len(piece) < 1 << 20 for piece in data.split(b"\0")) and len(pieces) > 1
        names = [applet["name"] for piece in pieces for applet in piece["parameters"]["applets"]]
        assert names == [f"a{number}" for number in range(50)], names
        swiftlet = os.path.join(os.path.dirname(PROGRAM), "swiftlet")
        listing = subprocess.run([swiftlet, "ps", "--socket", daemon.path], capture_output=True, text=True)
        assert listing.returncode == 0 and listing.stdout.count("\n") == 51, listing
        for number in range(50):
            daemon.call("Kill", name=f"a{number}")


def test_logs_that_nobody_reads():
    pipe = os.pipe()
    fcntl.fcntl(pipe[1], fcntl.F_SETPIPE_SZ, 4096)
    pair = socket.socketpair()
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for reading, writing in [pipe, [end.detach() for end in pair]]:
        with Daemon(stderr=writing) as daemon:
            os.close(writing)
            path = daemon.script(ENDING)
            for _ in range(80):
                daemon.call("Start", name="x" * 30, image=path, remove=True)
                wait_until(lambda: daemon.applet("x" * 30) is None, "its end")
            text = b""
            while b"lines lost" not in text:
                os.set_blocking(reading, False)
                with contextlib.suppress(BlockingIOError):
                    while more := os.read(reading, 65536):
                        text += more
                daemon.call("Start", name="y", image=path, remove=True)
                wait_until(lambda: daemon.applet("y") is None, "its end")
            assert all(line.startswith(b"swiftlet: ") or line == b"" for line in text.split(b"\n")), text
            daemon.log.write(text.decode())
        os.close(reading)


def test_sockets_of_daemons_that_live():
    with Daemon() as daemon:
        os.kill(daemon.process.pid, signal.SIGSTOP)
        clients = []
        with contextlib.suppress(BlockingIOError):
            while True:
                clients.append(socket.socket(socket.AF_UNIX))
                clients[-1].setblocking(False)
                clients[-1].connect(daemon.path)
        words = daemon.words(daemon.path)
        words[3] += "2"
        second = subprocess.run(words, stderr=subprocess.PIPE, timeout=60)
        assert second.returncode == 123 and b"in use by another daemon" in second.stderr, second
        for client in clients:
            client.close()
        os.kill(daemon.process.pid, signal.SIGCONT)
        # The queue is empty again.
        daemon.call("Metrics")
        answers(daemon)
        # A daemon whose socket was removed does not remove that of the next, also after a reload.
        daemon.reload()
        os.unlink(daemon.path)
        other = subprocess.Popen(words, stderr=subprocess.DEVNULL)
        wait_until(lambda: os.path.exists(daemon.path), "the second socket")
        daemon.process.send_signal(signal.SIGTERM)
        assert daemon.process.wait(60) == 0
        Connection(daemon.path).call("Metrics")
        other.send_signal(signal.SIGTERM)
        assert other.wait(60) == 0 and not os.path.exists(daemon.path)
        assert not os.path.exists(daemon.path + ".lock")


if __name__ == "__main__":
    main(globals())

"""usage: workers.py FAULTS [TEST]...

A daemon whose applets' processes are shell scripts, which start slowly, hang, and die at bad moments: nothing here needs KVM.
FAULTS is the program of Tests/Faults. An applet's image is the script, which has the descriptors of a worker (WorkerFile).
"""
import array
import base64
import faulthandler
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time

PROGRAM = os.path.abspath(sys.argv[1])
RUNNING = "printf '{\"running\":true}\\000' >&7; exec 7>&-\n"
# It answers no request of the daemon.
HANGING = RUNNING + "exec sleep 1000\n"
ENDING = RUNNING + "echo '{\"code\":0,\"status\":0,\"reason\":\"exited with status 0\"}' >&6\n"


class Failed(Exception):
    """The reply to a call was an error."""

    def __init__(self, reply):
        super().__init__(reply)
        self.name = reply["error"].rpartition(".")[2]
        self.parameters = reply["parameters"]


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        # It waits in the queue.
        self.socket.connect(path)
        self.socket.settimeout(60)

    def send(self, method, descriptors=(), more=False, **parameters):
        message = {"method": "org.swiftlet.Control." + method, "parameters": parameters, "more": more}
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        data = json.dumps(message).encode() + b"\0"
        assert self.socket.sendmsg([data], ancillary) == len(data)

    def receive(self):
        data = b""
        while not data.endswith(b"\0"):
            some = self.socket.recv(1)
            assert some, "the daemon has left"
            data += some
        reply = json.loads(data[:-1])
        if "error" in reply:
            raise Failed(reply)
        return reply["parameters"]

    def call(self, method, descriptors=(), **parameters):
        self.send(method, descriptors, **parameters)
        return self.receive()


class Daemon:
    """A daemon with a directory of its own that is ready, until its end."""

    def __init__(self, **more):
        self.directory = tempfile.mkdtemp(prefix="swiftlet-workers-")
        os.chmod(self.directory, 0o755)
        self.path = os.path.join(self.directory, "socket")
        self.state = os.path.join(self.directory, "state")
        self.log = open(os.path.join(self.directory, "log"), "w+")
        self.start(**more)

    def words(self, path):
        return [PROGRAM, "daemon", path, self.state, "/bin/sh", "sh", "/proc/self/fd/4"]

    def start(self, descriptors=None, before=None, stderr=None, **environment):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        self.process = subprocess.Popen(
            self.words(self.path), stderr=stderr or self.log, preexec_fn=limit if descriptors else before,
            env={**os.environ, **environment})
        for _ in range(400):
            try:
                self.connection = Connection(self.path)
                return self.call("Metrics")
            except OSError:
                assert self.process.poll() is None, self.lines()
                time.sleep(0.02)
        raise AssertionError("it does not listen")

    def reload(self):
        """SIGHUP; returns when the new daemon answers."""
        before = self.connection
        self.process.send_signal(signal.SIGHUP)
        assert before.socket.recv(1) == b""
        self.connection = Connection(self.path)
        self.call("Metrics")

    def die(self):
        self.process.kill()
        self.process.wait()

    def call(self, method, **parameters):
        return self.connection.call(method, **parameters)

    def run(self, name, script, **more):
        return self.call("Start", name=name, image=self.script(script), **more)["pid"]

    def script(self, text):
        path = tempfile.mktemp(dir=self.directory)
        with open(path, "w") as file:
            file.write(text)
        return path

    def applet(self, name):
        return next((applet for applet in self.call("List")["applets"] if applet["name"] == name), None)

    def comes_to(self, name, state, seconds=30):
        wait_until(lambda: (self.applet(name) or {}).get("state") == state, f"{name} {state}", seconds)

    def lines(self):
        self.log.seek(0)
        return self.log.read().splitlines()

    def file(self, name, file):
        return os.path.join(self.state, name, file)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            print("\n".join(self.lines()), file=sys.stderr)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            assert self.process.wait(60) == 0 or kind


def wait_until(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def fails(name, call, /, *words, **parameters):
    try:
        call(*words, **parameters)
    except Failed as failed:
        assert failed.name == name, failed
        return failed.parameters
    raise AssertionError(f"{words} {parameters} was answered")


def test_two_daemons_of_one_state():
    with Daemon() as daemon:
        pid = daemon.run("one", HANGING)
        for _ in range(2):
            second = subprocess.run(daemon.words(daemon.path + "2"), stderr=subprocess.PIPE)
            assert second.returncode == 123 and b"in use by another daemon" in second.stderr, second
            assert not os.path.exists(daemon.path + "2") and is_alive(pid)
            # The lock is held across a reload.
            daemon.reload()
        daemon.die()
        daemon.start()
        assert daemon.applet("one")["pid"] == pid


def test_running_applets_whose_files_are_broken():
    with Daemon() as daemon:
        pids = {name: daemon.run(name, HANGING, restart={"policy": "always", "delay": 1}) for name in ["torn", "gone", "directory"]}
        ended = daemon.run("ended", HANGING, restart={"policy": "always", "delay": 1})
        daemon.die()
        for name in ["torn", "ended"]:
            with open(daemon.file(name, "configuration"), "w") as file:
                file.write("{\"name\"")
        os.unlink(daemon.file("gone", "configuration"))
        # It can be opened, but not read.
        os.unlink(daemon.file("directory", "configuration"))
        os.mkdir(daemon.file("directory", "configuration"))
        os.mkdir(os.path.join(daemon.state, "half"))
        os.kill(ended, signal.SIGKILL)
        wait_until(lambda: not is_alive(ended), "its end")
        daemon.start()
        for name, pid in pids.items():
            assert daemon.applet(name)["pid"] == pid and is_alive(pid), daemon.applet(name)
        assert daemon.applet("ended")["state"] == "lost", daemon.applet("ended")
        assert daemon.applet("half") is None and not os.path.exists(os.path.join(daemon.state, "half"))
        for name, pid in pids.items():
            assert daemon.call("Kill", name=name)["end"]["code"] == 123
            assert not is_alive(pid)
        os.rmdir(daemon.file("directory", "configuration"))


def test_take_over_without_descriptors():
    with Daemon() as daemon:
        pids = {f"a{number}": daemon.run(f"a{number}", HANGING, restart={"policy": "always", "delay": 100}) for number in range(20)}
        daemon.die()
        daemon.start(descriptors=16)
        applets = daemon.call("List")["applets"]
        assert {applet["name"]: applet.get("pid") for applet in applets} == pids, applets
        # A process with or without a pidfd is killed: both ends are detected, and restarts happen when descriptors are
        # available.
        for name in ["a0", "a19"]:
            os.kill(pids[name], signal.SIGKILL)
            wait_until(lambda: (daemon.applet(name) or {}).get("pid") != pids[name], name)
        # Processes that cannot be killed immediately are killed when a descriptor is available.
        for name in list(pids)[1:19]:
            daemon.call("Kill", name=name)
            assert not is_alive(pids[name]), name


def test_daemons_that_go_amid_a_start():
    with Daemon() as daemon:
        slow = "sleep 1\n" + HANGING
        # Its report is ignored.
        for go in [daemon.reload, lambda: (daemon.die(), daemon.start())]:
            connection = Connection(daemon.path)
            connection.send("Start", name="slow", image=daemon.script(slow))
            wait_until(lambda: daemon.applet("slow"), "its start")
            pid = daemon.applet("slow")["pid"]
            go()
            time.sleep(1.5)
            assert is_alive(pid) and daemon.applet("slow")["state"] == "running", daemon.applet("slow")
            assert daemon.call("Kill", name="slow")["end"]["code"] in [123, 137]
            daemon.call("Remove", name="slow")


def test_reloads_and_ends():
    with Daemon() as daemon:
        pids = [daemon.run(name, HANGING, restart={"policy": "always", "delay": 1}) for name in ["one", "two"]]
        # A stop continues after a reload, with its time limit.
        connection = Connection(daemon.path)
        began = time.monotonic()
        connection.send("Stop", name="one", grace=1500)
        wait_until(lambda: connection_is_taken(daemon, 2), "the stop")
        # Data of a connection is read one iteration after it is accepted.
        daemon.call("Metrics")
        daemon.reload()
        assert is_alive(pids[0]) or time.monotonic() - began > 1.5
        daemon.comes_to("one", "stopped")
        assert time.monotonic() - began > 1.5 and not is_alive(pids[0])
        assert daemon.applet("two")["pid"] == pids[1]
        # So does a shutdown.
        daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: any("ending" in line for line in daemon.lines()), "its end")
        daemon.process.send_signal(signal.SIGHUP)
        assert daemon.process.wait(60) == 0
        assert not is_alive(pids[1])
        assert any("no reload" in line for line in daemon.lines()), daemon.lines()


def connection_is_taken(daemon, count):
    return daemon.call("Metrics")["connections"] == count


def test_stop_with_grace_of_one_that_hangs():
    with Daemon() as daemon:
        pid = daemon.run("one", HANGING)
        began = time.monotonic()
        end = daemon.call("Stop", name="one", grace=700)["end"]
        assert time.monotonic() - began >= 0.7
        assert end["signal"] == 9 and end["code"] == 137 and not is_alive(pid), end
        assert daemon.applet("one")["state"] == "stopped"
        assert any("grace over" in line for line in daemon.lines())


def test_ends_of_one_that_starts():
    with Daemon() as daemon:
        for method in ["Kill", "Stop"]:
            starter, waiter = Connection(daemon.path), Connection(daemon.path)
            starter.send("Start", name="one", image=daemon.script("exec sleep 1000\n"))
            wait_until(lambda: daemon.applet("one"), "its start")
            waiter.send("Wait", name="one")
            more = {"grace": 300} if method == "Stop" else {}
            assert daemon.call(method, name="one", **more)["end"]["signal"] == 9
            reply = waiter.receive()
            assert reply["state"] == "stopped" and reply["end"]["code"] == 137, reply
            fails("HostFailure", starter.receive)
            fails("NoSuchApplet", daemon.call, "Wait", name="one")


# It answers each request with an error that says that more will follow.
CONTINUING = RUNNING + '''exec python3 -c '
import select, socket
requests = socket.socket(fileno=5)
while select.select([requests], [], []):
    client = requests.accept()[0]
    client.recv(65536)
    client.sendall(b"{\\"error\\":\\"a.B\\",\\"parameters\\":{},\\"continues\\":true}\\0")
'
'''


def test_replies_that_do_not_end():
    with Daemon() as daemon:
        daemon.run("one", CONTINUING)
        fails("B", daemon.call, "Inspect", name="one")
        # The connection takes the next call.
        assert daemon.call("Metrics")["running"] == 1
        daemon.call("Kill", name="one")


def test_descriptors_of_each_call():
    with Daemon() as daemon:
        scripts = {}
        for name in ["one", "two", "three"]:
            with open(daemon.script(f"echo {name}\n" + HANGING)) as file:
                scripts[name] = os.dup(file.fileno())
        connection = daemon.connection
        # A descriptor of another call, or of a rejected one, is closed.
        connection.call("Metrics", [scripts["one"]])
        assert fails("InvalidParameter", connection.call, "Start", name="a", image_descriptor=0)
        assert fails("InvalidParameter", connection.call, "Start", [scripts["one"]], name="../a", image_descriptor=0)
        assert fails("InvalidParameter", connection.call, "Start", name="a", image_descriptor=0)
        assert fails("InvalidParameter", connection.call, "Start", [scripts["one"]], name="a", image_descriptor=1)
        # Several starts on one connection, sent before the first reply.
        for name, number in scripts.items():
            connection.send("Start", [number], name=name, image_descriptor=0)
        for name in scripts:
            assert connection.receive()["name"] == name
            assert base64.b64decode(connection_console(daemon, name)) == name.encode() + b"\n"
        connection.call("Start", [scripts["two"], scripts["one"]], name="second", image_descriptor=1)
        assert base64.b64decode(connection_console(daemon, "second")) == b"one\n"
        for number in scripts.values():
            os.close(number)


def connection_console(daemon, name):
    return Connection(daemon.path).call("Console", name=name)["data"]


def test_ends_that_a_process_invents():
    with Daemon() as daemon:
        # It says that it was stopped, which nobody has requested: that would be no failure.
        ending = RUNNING + "echo '{\"code\":124,\"stopped\":true,\"reason\":\"stopped\"}' >&6\n"
        daemon.run("one", ending, restart={"policy": "on_failure", "limit": 3, "delay": 1})
        daemon.comes_to("one", "failed")
        assert daemon.applet("one")["restarts"] == 3


def test_restarts_that_are_overtaken():
    with Daemon() as daemon:
        first = os.path.join(daemon.directory, "first")
        script = f"[ -e {first} ] && exec sleep 1000; touch {first}\n" + RUNNING + "exec sleep 1000\n"
        pid = daemon.run("one", script)
        waiter = Connection(daemon.path)
        waiter.send("StartAgain", name="one", grace=0)
        wait_until(lambda: daemon.applet("one").get("pid", pid) != pid, "the next process")
        assert daemon.call("Kill", name="one")["end"]["code"] == 137
        assert fails("WrongState", waiter.receive)["state"] == "stopped"


def test_long_paths():
    with Daemon() as daemon:
        daemon.die()
        daemon.state = os.path.join(daemon.directory, "d" * 100)
        daemon.start()
        name = "n" * 64
        daemon.run(name, CONTINUING)
        fails("B", daemon.call, "Inspect", name=name)
        daemon.call("Kill", name=name)


def test_files_that_a_crash_has_left():
    with Daemon() as daemon:
        daemon.die()
        for name in ["one", "two"]:
            os.mkdir(os.path.join(daemon.state, name))
            with open(daemon.file(name, "configuration.new"), "w") as file:
                file.write("{")
        # One has values already.
        os.mkdir(os.path.join(daemon.state, "valued"))
        open(daemon.file("valued", "configuration"), "w").close()
        with open(daemon.file("valued", "values"), "w") as file:
            file.write("value")
        daemon.start()
        assert not os.path.exists(os.path.join(daemon.state, "one"))
        assert [applet["name"] for applet in daemon.call("List")["applets"]] == ["valued"]
        with open(daemon.file("valued", "values")) as file:
            assert file.read() == "value"
        daemon.run("one", HANGING)


def test_processes_that_cannot_be_recorded():
    with Daemon() as daemon:
        # The first run makes it impossible to record the second one, which must not start.
        marks = os.path.join(daemon.directory, "marks")
        script = f"echo x >>{marks}; rm {daemon.state}/one/process; mkdir {daemon.state}/one/process; " + ENDING
        daemon.run("one", script, restart={"policy": "always", "limit": 3, "delay": 1})
        daemon.comes_to("one", "failed")
        assert "directory" in daemon.applet("one")["end"]["reason"], daemon.applet("one")
        with open(marks) as file:
            assert file.read() == "x\n"
        os.rmdir(daemon.file("one", "process"))


def test_applets_that_ended_before():
    with Daemon() as daemon:
        daemon.run("done", ENDING)
        daemon.comes_to("done", "exited")
        pids = [daemon.run("gone", HANGING, remove=True), daemon.run("lost", HANGING)]
        ended = daemon.applet("done")["ended"]
        daemon.die()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, pids)), "their ends")
        time.sleep(1.2)
        daemon.start()
        assert daemon.applet("gone") is None and not os.path.exists(os.path.join(daemon.state, "gone"))
        assert any("lost name=gone" in line for line in daemon.lines()), daemon.lines()
        lost = daemon.applet("lost")
        assert lost["state"] == "lost", lost
        time.sleep(1.2)
        daemon.reload()
        # The time and the outcome of their end do not change.
        assert abs(daemon.applet("done")["ended"] - ended) < 500, (daemon.applet("done"), ended)
        assert daemon.applet("lost")["state"] == "lost" and abs(daemon.applet("lost")["ended"] - lost["ended"]) < 500


def test_readers_of_events_that_do_not_read():
    with Daemon() as daemon:
        lazy = Connection(daemon.path)
        lazy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.send("Events", more=True)
        diligent = Connection(daemon.path)
        diligent.send("Events", more=True)
        diligent.receive()
        path = daemon.script(ENDING)
        # The length of an event is that of its reason: a thousand bytes here.
        long = RUNNING + "echo '{\"code\":3,\"reason\":\"" + "x" * 1000 + "\"}' >&6\n"
        path = daemon.script(long)
        most = daemon.call("Metrics")["connections"]
        for _ in range(2000):
            daemon.call("Start", name="one", image=path, remove=True)
            name = None
            while name != "removed":
                name = diligent.receive().get("event")
            if daemon.call("Metrics")["connections"] < most:
                break
        else:
            raise AssertionError("a reader that does not read is never left")
        assert daemon.call("Metrics")["connections"] == most - 1


def test_sockets_that_are_none():
    with Daemon() as daemon:
        path = os.path.join(daemon.directory, "file")
        with open(path, "w") as file:
            file.write("precious")
        words = daemon.words(path)
        words[3] += "2"
        other = subprocess.run(words, stderr=subprocess.PIPE)
        assert other.returncode == 123 and b"in use" in other.stderr, other
        with open(path) as file:
            assert file.read() == "precious"


def main(tests):
    # Prints the location when the test hangs.
    faulthandler.dump_traceback_later(600, exit=True)
    chosen = sys.argv[2:]
    for name, test in list(tests.items()):
        if name.startswith("test_") and test.__module__ == tests["__name__"] and (not chosen or name[5:] in chosen):
            began = time.monotonic()
            test()
            print(f"{name[5:]}: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main(globals())

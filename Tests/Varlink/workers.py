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
# It answers nothing that the daemon asks.
HANGING = RUNNING + "exec sleep 1000\n"
ENDING = RUNNING + "echo '{\"code\":0,\"status\":0,\"reason\":\"exited with status 0\"}' >&6\n"


class Failed(Exception):
    """A call was answered with an error."""

    def __init__(self, reply):
        super().__init__(reply)
        self.name = reply["error"].rpartition(".")[2]
        self.parameters = reply["parameters"]


class Connection:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)

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
    """A daemon with a folder of its own, from its readiness to its end."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="swiftlet-workers-")
        self.path = os.path.join(self.folder, "socket")
        self.state = os.path.join(self.folder, "state")
        self.log = open(os.path.join(self.folder, "log"), "w+")
        self.start()

    def words(self, path):
        return [PROGRAM, "daemon", path, self.state, "/bin/sh", "sh", "/proc/self/fd/4"]

    def start(self, descriptors=None):
        def limit():
            resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
        self.process = subprocess.Popen(self.words(self.path), stderr=self.log, preexec_fn=limit if descriptors else None)
        for _ in range(400):
            try:
                self.connection = Connection(self.path)
                return self.call("Metrics")
            except OSError:
                assert self.process.poll() is None, self.lines()
                time.sleep(0.02)
        raise AssertionError("it does not listen")

    def reload(self):
        """SIGHUP; comes back when the new one answers."""
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
        path = tempfile.mktemp(dir=self.folder)
        with open(path, "w") as file:
            file.write(text)
        return path

    def applet(self, name):
        return next((applet for applet in self.call("List")["applets"] if applet["name"] == name), None)

    def comes_to(self, name, state, seconds=10):
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
            assert self.process.wait(20) == 0 or kind


def wait_until(condition, what, seconds=10):
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


def fails(name, call, *words, **parameters):
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
            assert second.returncode == 123 and b"another daemon has its applets there" in second.stderr, second
            assert not os.path.exists(daemon.path + "2") and is_alive(pid)
            # The lock is held across a reload.
            daemon.reload()
        daemon.die()
        daemon.start()
        assert daemon.applet("one")["pid"] == pid


def test_running_applets_whose_files_are_broken():
    with Daemon() as daemon:
        pids = {name: daemon.run(name, HANGING, restart={"policy": "always", "delay": 1}) for name in ["torn", "gone", "folder"]}
        ended = daemon.run("ended", HANGING, restart={"policy": "always", "delay": 1})
        daemon.die()
        for name in ["torn", "ended"]:
            with open(daemon.file(name, "configuration"), "w") as file:
                file.write("{\"name\"")
        os.unlink(daemon.file("gone", "configuration"))
        # Opening it succeeds, and reading it does not.
        os.unlink(daemon.file("folder", "configuration"))
        os.mkdir(daemon.file("folder", "configuration"))
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
        os.rmdir(daemon.file("folder", "configuration"))


def test_take_over_without_descriptors():
    with Daemon() as daemon:
        pids = {f"a{number}": daemon.run(f"a{number}", HANGING, restart={"policy": "always", "delay": 100}) for number in range(20)}
        daemon.die()
        daemon.start(descriptors=16)
        applets = daemon.call("List")["applets"]
        assert {applet["name"]: applet.get("pid") for applet in applets} == pids, applets
        # One of those that are watched, or not, is killed: both are noticed, and started again or not for want of descriptors.
        for name in ["a0", "a19"]:
            os.kill(pids[name], signal.SIGKILL)
            wait_until(lambda: (daemon.applet(name) or {}).get("pid") != pids[name], name)
        # Those that cannot be killed at once are killed once there is a descriptor.
        waiting = []
        for name in list(pids)[1:19]:
            connection = daemon.connection if not waiting else None
            daemon.call("Kill", name=name)
            assert not is_alive(pids[name]), name


def main():
    # Whoever waits for ever says where.
    faulthandler.dump_traceback_later(240, exit=True)
    chosen = sys.argv[2:]
    for name, test in list(globals().items()):
        if name.startswith("test_") and (not chosen or name[5:] in chosen):
            began = time.monotonic()
            test()
            print(f"{name[5:]}: {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main()

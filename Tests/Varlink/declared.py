"""usage: declared.py FAULTS [TEST]...

Applets that files declare, with swiftlet apply and by the daemon itself. See workers.py.
"""
import hashlib

from workers import *
from lasting import ALWAYS, KEEPING, SWIFTLET, stop


class Declared(Daemon):
    """A daemon with a directory of declared applets, which is empty."""

    def __init__(self):
        self.applets = tempfile.mkdtemp(prefix="swiftlet-declared-")
        super().__init__()

    def start(self, **environment):
        super().start(DAEMON_APPLETS=self.applets, DAEMON_CLIENT=SWIFTLET, **environment)

    def declare(self, name, text=HANGING, /, directory=None, **members):
        """Writes a declaration; without an image, with one that has this text, at the same path each time."""
        directory = directory or self.applets
        if "image" not in members:
            members["image"] = os.path.join(self.directory, name + ".image")
            with open(members["image"], "w") as file:
                file.write(text)
        with open(os.path.join(directory, name + ".json"), "w") as file:
            json.dump(members, file)

    def remove(self, name):
        os.unlink(os.path.join(self.applets, name + ".json"))

    def apply(self, *words, status=0):
        """The lines of swiftlet apply, without those on standard error, which are in `complaints`."""
        done = subprocess.run([SWIFTLET, "apply", "--socket", self.path, *words], capture_output=True, text=True)
        assert done.returncode == status, done
        self.complaints = done.stderr.splitlines()
        return done.stdout.splitlines()

    def says(self, text, count=1):
        wait_until(lambda: sum(text in line for line in self.lines()) >= count, text, 60)

    def pid(self, name):
        return (self.applet(name) or {}).get("pid")

    def names(self):
        return sorted(applet["name"] for applet in self.call("List")["applets"])


def test_apply():
    with Declared() as daemon, tempfile.TemporaryDirectory() as directory:
        for name in ["a1", "a2"]:
            daemon.declare(name, directory=directory)
        assert daemon.apply("--dry-run", directory) == ["started a1 (dry run)", "started a2 (dry run)"]
        assert daemon.names() == []
        assert daemon.apply(directory) == ["started a1", "started a2"]
        pids = daemon.pid("a1"), daemon.pid("a2")
        assert daemon.apply(directory) == ["unchanged a1", "unchanged a2"]
        assert daemon.apply(directory, os.path.join(directory, "a1.json")) == ["unchanged a1", "unchanged a2"]
        # Another order of the members is no change.
        with open(os.path.join(directory, "a1.json")) as file:
            members = json.load(file)
        daemon.declare("a1", directory=directory, **{"$schema": "/s.json", "restart": None, "name": "a1"}, **members)
        assert daemon.apply(directory) == ["unchanged a1", "unchanged a2"]
        # The file changes, and the image.
        daemon.declare("a1", directory=directory, arguments=["x"], **members)
        assert daemon.apply("--dry-run", directory) == ["changed a1 (dry run)", "unchanged a2 (dry run)"]
        assert (daemon.pid("a1"), daemon.pid("a2")) == pids
        assert daemon.apply(directory) == ["changed a1 (restarted)", "unchanged a2"]
        assert daemon.pid("a1") != pids[0] and daemon.pid("a2") == pids[1] and not is_alive(pids[0])
        daemon.declare("a2", "# another\n" + HANGING, directory=directory)
        assert daemon.apply("--json", directory) == [
            '{"name":"a1","change":"unchanged"}', '{"name":"a2","change":"changed"}']
        assert not is_alive(pids[1])
        # It ends by itself, and is not started again by the same file.
        os.kill(daemon.pid("a2"), signal.SIGKILL)
        daemon.comes_to("a2", "failed")
        assert daemon.apply(directory) == ["unchanged a1", "unchanged a2"]
        os.unlink(os.path.join(directory, "a1.json"))
        assert daemon.apply(directory) == ["unchanged a2"]
        assert daemon.apply("--prune", "--dry-run", directory) == ["unchanged a2 (dry run)", "removed a1 (dry run)"]
        assert daemon.names() == ["a1", "a2"]
        # What other directories have declared, and what is not declared, is not in it.
        daemon.run("mine", HANGING)
        daemon.declare("other")
        assert daemon.apply(daemon.applets) == ["started other"]
        pid = daemon.pid("a1")
        assert daemon.apply("--prune", directory) == ["unchanged a2", "removed a1"]
        assert daemon.names() == ["a2", "mine", "other"] and not is_alive(pid)
        # After it is removed, it is declared but not there.
        daemon.call("Remove", name="a2")
        assert daemon.apply(os.path.join(directory, "a2.json")) == ["started a2"]


def test_files_with_errors():
    with Declared() as daemon, tempfile.TemporaryDirectory() as directory:
        daemon.declare("good", directory=directory)
        daemon.declare("bad", directory=directory)
        assert daemon.apply(directory) == ["started bad", "started good"]
        pid, path = daemon.pid("bad"), os.path.join(directory, "bad.json")
        for text, place, reason in [
                ('{"image":"a",}', "1:14", "expected"), ("[]", "1:1", "must be an object"),
                ('{"image":"a",\n "memroy": 1}', "2:2", '"memroy" is not known'), ("", "1:1", ""),
                ('{"image":"a",\n\n   "memory": 5}', "3:4", '"memory" must be a number of bytes from 131072')]:
            with open(path, "w") as file:
                file.write(text)
            assert daemon.apply("--prune", directory, status=1) == ["unchanged good"]
            assert len(daemon.complaints) == 1
            assert daemon.complaints[0].startswith(f"swiftlet: {path}:{place}: ") and reason in daemon.complaints[0], daemon.complaints
            assert daemon.pid("bad") == pid
        daemon.declare("bad", directory=directory, image="nowhere")
        assert daemon.apply(directory, status=127) == ["unchanged good"]
        assert f"{directory}/nowhere: No such file" in daemon.complaints[0]
        daemon.declare("bad", directory=directory, image="/bin/sh", digest="sha256:" + "0" * 64)
        assert daemon.apply(directory, status=126) == ["unchanged good"]
        assert "its digest is sha256:" in daemon.complaints[0]
        assert daemon.pid("bad") == pid
        os.unlink(path)
        assert daemon.apply(directory + "/none", status=127) == []
        daemon.run("mine", HANGING)
        daemon.declare("mine", directory=directory)
        assert daemon.apply(directory, status=1) == ["unchanged good"]
        assert "was not declared" in daemon.complaints[0]
        with open(os.path.join(directory, "two words.json"), "w"):
            pass
        assert daemon.apply(directory, status=1) == ["unchanged good"] and len(daemon.complaints) == 2
        assert daemon.apply("--prune", os.path.join(directory, "good.json"), status=122) == []


def test_changes_that_the_daemon_rejects():
    with Declared() as daemon, tempfile.TemporaryDirectory() as directory:
        daemon.declare("one", directory=directory)
        daemon.apply(directory)
        pid = daemon.pid("one")
        # It has no control groups.
        daemon.declare("one", directory=directory, limits={"process_memory": 1 << 26})
        assert daemon.apply(directory, status=1) == []
        assert "process_memory" in daemon.complaints[0] and daemon.pid("one") == pid, daemon.complaints
        daemon.declare("one", directory=directory)
        assert daemon.apply(directory) == ["unchanged one"] and daemon.pid("one") == pid


def test_files_that_are_links():
    with Declared() as daemon, tempfile.TemporaryDirectory() as directory, tempfile.TemporaryDirectory() as other:
        daemon.declare("one", directory=other, image="one.image")
        with open(os.path.join(directory, "one.image"), "w") as file:
            file.write(HANGING)
        link = os.path.join(directory, "one.json")
        os.symlink(os.path.join(other, "one.json"), link)
        assert daemon.apply(directory) == ["started one"]
        assert daemon.apply(link) == ["unchanged one"] and daemon.apply(directory, link) == ["unchanged one"]


def test_values_of_one_that_is_changed():
    with Declared() as daemon, tempfile.TemporaryDirectory() as directory:
        # As a worker that sets a value, and one that fails to start.
        daemon.declare("one", RUNNING + "echo first; echo value >&8; exec sleep 1000\n", directory=directory)
        daemon.apply(directory)
        wait_until(lambda: os.path.getsize(daemon.file("one", "values")), "the value")
        failing = "printf '{\"error\":{\"code\":123,\"reason\":\"no luck\"}}\\000' >&7\n"
        daemon.declare("one", failing, directory=directory)
        assert daemon.apply(directory, status=123) == [] and "no luck" in daemon.complaints[0], daemon.complaints
        assert daemon.applet("one")["state"] == "failed"
        daemon.reload()
        # It is tried again.
        assert daemon.apply(directory, status=123) == []
        daemon.declare("one", RUNNING + "echo second; exec sleep 1000\n", directory=directory)
        assert daemon.apply(directory) == ["started one"]
        with open(daemon.file("one", "values")) as file:
            assert file.read() == "value\n"
        wait_until(lambda: base64.b64decode(daemon.call("Console", name="one")["data"]) == b"first\nsecond\n", "both")
        assert daemon.applet("one")["restarts"] == 0


def test_replace():
    with Declared() as daemon:
        daemon.run("one", HANGING)
        image = daemon.script(HANGING)
        assert fails("WrongState", lambda: daemon.call("Start", name="one", image=image, replace=True))["state"] == "running"
        fails("NameTaken", lambda: daemon.call("Start", name="one", image=image))
        daemon.call("Kill", name="one")
        fails("NameTaken", lambda: daemon.call("Start", name="one", image=image))
        daemon.call("Start", name="one", image=image, replace=True)
        assert daemon.names() == ["one"] and daemon.applet("one")["state"] == "running"


def test_the_directory_of_the_daemon():
    with Declared() as daemon:
        assert not any("applied" in line for line in daemon.lines())
        for name in ["one", "two", "three"]:
            daemon.declare(name)
        daemon.declare("kept", KEEPING + HANGING, restart=ALWAYS)
        daemon.reload()
        daemon.says("change=started", 4)
        pids = {name: daemon.pid(name) for name in ["one", "two", "three", "kept"]}
        daemon.declare("two", arguments=["x"])
        daemon.remove("three")
        for name in ["one", "bad"]:
            with open(os.path.join(daemon.applets, name + ".json"), "w") as file:
                file.write("{")
        daemon.reload()
        daemon.says("applied name=three change=removed")
        for name in ["one", "bad"]:
            daemon.says(f"{name}.json:1:1: ")
        assert daemon.names() == ["kept", "one", "two"]
        assert daemon.pid("one") == pids["one"] and daemon.pid("kept") == pids["kept"] and daemon.pid("two") != pids["two"]
        # Its end stops them; its start starts them again, but not what a user has stopped.
        daemon.declare("one")
        daemon.call("Stop", name="two", grace=0)
        stop(daemon)
        daemon.start()
        for name in ["one", "kept"]:
            daemon.comes_to(name, "running")
        daemon.says("applied name=one change=started", 2)
        assert daemon.applet("two")["state"] == "failed"
        # After a boot, that one is started, too.
        stop(daemon)
        for name in ["one", "two", "kept"]:
            with open(daemon.file(name, "configuration")) as file:
                record = json.load(file)
            with open(daemon.file(name, "configuration"), "w") as file:
                json.dump({**record, "boot": "another"}, file)
        daemon.start()
        for name in ["one", "two", "kept"]:
            daemon.comes_to(name, "running")
        # Without its directory, nothing is declared.
        for name in ["one", "two", "kept", "bad"]:
            daemon.remove(name)
        os.rmdir(daemon.applets)
        daemon.reload()
        wait_until(lambda: daemon.names() == [], "an empty list", 60)


def test_requests_around_the_end_of_the_daemon():
    with Declared() as daemon:
        for name in ["one", "two"]:
            daemon.declare(name)
        daemon.reload()
        daemon.says("change=started", 2)
        # A user's stop, amid which the daemon ends, holds.
        connection = Connection(daemon.path)
        connection.send("Stop", name="one", grace=60000)
        daemon.call("Metrics")
        daemon.call("Metrics")
        path = os.path.join(daemon.applets, "two.json")
        with open(path) as file:
            declaration = file.read()
        with open(path, "w") as file:
            file.write("{")
        stop(daemon)
        daemon.start()
        daemon.says("two.json:1:1: ")
        assert daemon.applet("one")["state"] == "stopped", daemon.applet("one")
        # One that a user starts again, before its declaration does, is not stopped for that.
        pid = daemon.call("StartAgain", name="two")["pid"]
        with open(path, "w") as file:
            file.write(declaration)
        daemon.declare("zero")
        daemon.reload()
        daemon.says("applied name=zero change=started")
        assert daemon.pid("two") == pid and daemon.applet("one")["state"] == "stopped"


def test_a_daemon_that_ends_meanwhile():
    with Declared() as daemon:
        for number in range(20):
            daemon.declare(f"a{number}")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.says("applied name=a1 ")
        stop(daemon)
        daemon.start()
        for number in range(20):
            daemon.comes_to(f"a{number}", "running", 60)
        # Reloads in quick succession leave no client.
        for _ in range(3):
            daemon.reload()
        wait_until(lambda: daemon.call("Metrics")["connections"] == 1, "the clients' end")
        assert not any("not applied" in line for line in daemon.lines()), daemon.lines()


if __name__ == "__main__":
    # On these hosts an image must be one.
    if os.uname().machine not in ["aarch64", "riscv64"]:
        main(globals())

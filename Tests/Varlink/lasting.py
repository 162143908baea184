"""usage: lasting.py FAULTS [TEST]...

Applets that are to be kept are kept: over ends and starts of the daemon, failures, what it inherits, and programs in its place. See
workers.py.
"""
import shutil

from workers import *

SWIFTLET = os.path.join(os.path.dirname(PROGRAM), "swiftlet")
# As a worker does with the image of an applet that is to be restarted.
KEEPING = "[ /proc/self/fd/9 -ef /dev/null ] || { cat <&4 >&9; chmod 400 /proc/self/fd/9; }\n"
ALWAYS = {"policy": "always", "delay": 1}


def client(daemon, *words):
    pipe = subprocess.PIPE
    return subprocess.Popen([SWIFTLET, *words, "--socket", daemon.path], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def result(process):
    # Its input stays open until it has ended.
    process.wait(60)
    return process.returncode, process.stdout.read(), process.stderr.read()


def stop(daemon):
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(60) == 0


def test_ends_of_the_daemon_and_of_users():
    with Daemon() as daemon:
        kept, stopped = (daemon.run(name, KEEPING + HANGING, restart=ALWAYS) for name in ["kept", "stopped"])
        waiting = daemon.run("waiting", KEEPING + RUNNING, restart={"policy": "always", "delay": 60000})
        removed = daemon.run("removed", KEEPING + HANGING, restart=ALWAYS, remove=True)
        plain = daemon.run("plain", HANGING)
        daemon.comes_to("waiting", "waiting")
        # One that has used up its restarts, and that the end of the daemon kills because it does not stop: that is no failure.
        last = daemon.run("last", KEEPING + HANGING, restart={"policy": "on_failure", "limit": 1, "delay": 1})
        os.kill(last, signal.SIGKILL)
        wait_until(lambda: (daemon.applet("last") or {}).get("restarts") == 1, "a restart")
        daemon.comes_to("last", "running")
        assert daemon.call("Stop", name="stopped", grace=0)["end"]["code"] == 137
        stop(daemon)
        assert not any(map(is_alive, [kept, stopped, waiting, removed, plain]))
        daemon.start()
        for name in ["kept", "removed", "last"]:
            daemon.comes_to(name, "running")
        assert daemon.applet("last")["restarts"] == 1
        assert daemon.applet("waiting")["state"] == "waiting"
        for name in ["stopped", "plain"]:
            assert daemon.applet(name)["state"] not in ["running", "starting", "waiting"], daemon.applet(name)
        # A stop holds, even if the daemon ends before the applet has stopped.
        connection = Connection(daemon.path)
        connection.send("Stop", name="kept", grace=60000)
        daemon.call("Metrics")
        daemon.call("Metrics")
        daemon.die()
        os.kill(daemon_pid(daemon, "kept"), signal.SIGKILL)
        daemon.start()
        time.sleep(0.5)
        assert daemon.applet("kept")["state"] not in ["running", "starting", "waiting"], daemon.applet("kept")


def daemon_pid(daemon, name):
    with open(daemon.file(name, "process")) as file:
        return json.load(file)["pid"]


def test_images_that_go():
    with Daemon() as daemon:
        path = daemon.script(KEEPING + "echo first\n" + HANGING)
        with open(path) as script:
            daemon.connection.call("Start", [script.fileno()], name="sent", image_descriptor=0, restart=ALWAYS)
        daemon.call("Start", name="named", image=path, restart=ALWAYS)
        with open(path, "w") as script:
            script.write("exit 9")
        os.unlink(path)
        for go in [lambda: None, daemon.reload, lambda: (daemon.die(), daemon.start()), lambda: (stop(daemon), daemon.start())]:
            go()
            for name in ["sent", "named"]:
                daemon.comes_to(name, "running")
                pid = daemon.applet(name)["pid"]
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda: (daemon.applet(name) or {}).get("pid", pid) != pid, name)
                daemon.comes_to(name, "running")
        assert b"first\n" * 4 in base64.b64decode(daemon.call("Console", name="sent")["data"])
        daemon.call("Kill", name="sent")
        assert not os.path.exists(daemon.file("sent", "image"))


def test_copies_of_images_that_a_power_failure_empties():
    with Daemon() as daemon:
        daemon.run("one", KEEPING + HANGING, restart=ALWAYS)
        pid = daemon.applet("one")["pid"]
        daemon.die()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "its end")
        os.chmod(daemon.file("one", "image"), 0o600)
        os.truncate(daemon.file("one", "image"), 0)
        os.chmod(daemon.file("one", "image"), 0o400)
        daemon.start()
        daemon.comes_to("one", "running")
        wait_until(lambda: os.path.getsize(daemon.file("one", "image")) > 0, "a copy")


def test_restarts_of_ended_applets_that_fail():
    with Daemon() as daemon:
        path = daemon.script(KEEPING + HANGING)
        daemon.call("Start", name="one", image=path, restart=ALWAYS)
        daemon.call("Kill", name="one")
        with open(path, "w") as script:
            script.write(KEEPING + "printf '{\"error\":{\"code\":123,\"reason\":\"no luck\"}}\\000' >&7\n")
        assert fails("HostFailure", daemon.call, "StartAgain", name="one")["reason"] == "no luck"
        # It has still ended, and there is no copy of the image that fails.
        assert daemon.applet("one")["state"] == "failed", daemon.applet("one")
        with open(path, "w") as script:
            script.write(KEEPING + HANGING)
        assert daemon.call("StartAgain", name="one")["pid"]
        os.kill(daemon.applet("one")["pid"], signal.SIGKILL)
        wait_until(lambda: daemon.applet("one").get("restarts") == 1, "a restart by its policy")


def test_restarts_that_fail():
    with Daemon() as daemon:
        # Its image is not kept, as by an older daemon.
        path = daemon.script(HANGING)
        pid = daemon.call("Start", name="one", image=path, restart=ALWAYS)["pid"]
        os.rename(path, path + ".away")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "No such file" in daemon.applet("one").get("end", {}).get("reason", ""), "a failure")
        assert daemon.applet("one")["state"] == "waiting"
        os.rename(path + ".away", path)
        daemon.comes_to("one", "running")


def test_replacements_that_fail():
    with Daemon() as daemon:
        daemon.run("one", ENDING)
        daemon.comes_to("one", "exited")
        # Its process cannot be created, after the new configuration has been written.
        os.mkdir(daemon.file("one", "requests"))
        fails("HostFailure", daemon.run, "one", HANGING, restart=ALWAYS, replace=True)
        assert daemon.applet("one")["state"] == "exited"
        daemon.die()
        daemon.start()
        time.sleep(0.5)
        assert daemon.applet("one")["state"] == "exited", daemon.applet("one")


def test_stops_that_cannot_be_recorded():
    with Daemon() as daemon:
        for name, keeps in [("full", True), ("broken", False)]:
            pid = daemon.run(name, KEEPING + HANGING, restart=ALWAYS)
            # A record cannot be written. The second one's image cannot be removed, either.
            os.mkdir(daemon.file(name, "configuration.new"))
            if not keeps:
                os.unlink(daemon.file(name, "image"))
                os.mkdir(daemon.file(name, "image"))
            connection = Connection(daemon.path)
            connection.send("Kill", name=name)
            if keeps:
                connection.receive()
            else:
                assert "could not be recorded" in fails("HostFailure", connection.receive)["reason"]
            time.sleep(0.2)
            assert daemon.applet(name)["state"] == "stopped" and not is_alive(pid)
        daemon.reload()
        assert daemon.applet("full")["state"] in ["stopped", "failed"], daemon.applet("full")
        os.rmdir(daemon.file("broken", "image"))
        for name in ["full", "broken"]:
            os.rmdir(daemon.file(name, "configuration.new"))


def test_processes_that_proc_does_not_show():
    with Daemon() as daemon:
        pid = daemon.run("one", HANGING, restart=ALWAYS)
        daemon.die()
        # An unreadable or wrong start time in /proc does not identify the process.
        with open(daemon.file("one", "process")) as file:
            record = json.load(file)
        with open(daemon.file("one", "process"), "w") as file:
            json.dump({**record, "began": 1}, file)
        daemon.start()
        assert daemon.applet("one")["pid"] == pid and daemon.applet("one")["state"] == "running"
        # Nor does another process with the same ID, as there may be after a boot.
        daemon.die()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), "its end")
        with open(f"/proc/{os.getpid()}/stat") as file:
            began = int(file.read().rpartition(")")[2].split()[19])
        with open(daemon.file("one", "process"), "w") as file:
            json.dump({**record, "pid": os.getpid(), "began": began}, file)
        daemon.start()
        assert daemon.applet("one").get("pid") != os.getpid()


def test_what_is_inherited():
    def strange():
        for number in range(1, signal.NSIG):
            if number not in [signal.SIGKILL, signal.SIGSTOP, 32, 33]:
                signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, signal.NSIG))
        os.umask(0o777)
        resource.setrlimit(resource.RLIMIT_CPU, (1000, 2000))
    with Daemon(before=strange) as daemon:
        assert any("limited" in line and "cpu" in line for line in daemon.lines())
        daemon.run("one", RUNNING + "trap 'exit 7' TERM; kill -TERM $$; sleep 5; exit 8\n")
        assert daemon.call("Wait", name="one")["end"]["code"] == 7
        assert os.stat(daemon.file("one", "console")).st_mode & 0o777 == 0o600
        daemon.reload()
        stop(daemon)


def test_programs_that_are_not_whole():
    with Daemon() as daemon:
        stop(daemon)
        program = os.path.join(daemon.directory, "program")
        shutil.copy(PROGRAM, program)
        words = daemon.words
        daemon.words = lambda path: [program] + words(path)[1:]
        daemon.start()
        pid = daemon.run("one", HANGING)
        daemon.log.flush()
        for part in [0, 100, 200_000]:
            os.unlink(program)
            with open(PROGRAM, "rb") as source, open(program, "wb") as target:
                target.write(source.read(part))
            os.chmod(program, 0o755)
            before = len([line for line in daemon.lines() if "reload failed" in line])
            daemon.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len([line for line in daemon.lines() if "reload failed" in line]) > before, "a complaint")
            assert daemon.call("Metrics") and daemon.applet("one")["pid"] == pid
        # A complete program that fails.
        os.unlink(program)
        shutil.copy("/bin/false", program)
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: any("test run of the new program failed" in line for line in daemon.lines()), "a complaint")
        shutil.copy(PROGRAM, program + ".new")
        os.rename(program + ".new", program)
        daemon.reload()
        assert daemon.applet("one")["pid"] == pid


def test_commands_over_a_reload():
    with Daemon() as daemon:
        go = os.path.join(daemon.directory, "go")
        script = RUNNING + f"echo one; until [ -e {go} ]; do sleep 0.05; done; echo two\n"
        script += "echo '{\"code\":7,\"status\":7,\"reason\":\"exited with status 7\"}' >&6\n"
        daemon.run("one", script)
        two = daemon.run("two", HANGING)
        wait, logs, attach, events, stops = (
            client(daemon, *words) for words in
            [("wait", "one"), ("logs", "-f", "one"), ("attach", "one"), ("events",), ("stop", "-g", "60s", "two")])
        wait_until(lambda: connections(daemon) >= 8, "the clients")
        for _ in range(2):
            daemon.reload()
            # The connection for input is made again when there is input.
            wait_until(lambda: connections(daemon) >= 7, "the clients again")
        open(go, "w").close()
        assert result(wait) == (7, "", ""), wait
        assert result(logs) == (0, "one\ntwo\n", ""), logs
        assert result(attach)[:2] == (7, "one\ntwo\n"), attach
        os.kill(two, signal.SIGKILL)
        assert result(stops) == (0, "", "")
        assert events.poll() is None
        stop(daemon)
        code, output, errors = result(events)
        assert code == 123 and "exited" in output and "closed the connection" in errors, (code, output, errors)


def connections(daemon):
    return daemon.call("Metrics")["connections"]


def test_commands_that_go_on():
    with Daemon() as daemon:
        daemon.run("one", "echo out\n" + ENDING)
        daemon.comes_to("one", "exited")
        status, output, errors = result(client(daemon, "logs", "-f", "none", "one"))
        assert (status, output) == (1, "one  | out\n") and "none" in errors, (status, output, errors)
        daemon.run("two", "sleep 1\necho out\n" + ENDING)
        attached = subprocess.run(
            [SWIFTLET, "attach", "two", "--socket", daemon.path], stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert (attached.returncode, attached.stdout) == (0, "out\n"), attached


def test_input_during_a_restart():
    with Daemon() as daemon:
        got = os.path.join(daemon.directory, "got")
        pid = daemon.run("one", KEEPING + RUNNING + f"cat >>{got}", restart={"policy": "always", "delay": 1000}, input=True)
        attached = client(daemon, "attach", "one")
        attached.stdin.write("first\n")
        attached.stdin.flush()
        wait_until(lambda: os.path.exists(got) and os.path.getsize(got) == 6, "the first line")
        os.kill(pid, signal.SIGKILL)
        daemon.comes_to("one", "waiting")
        attached.stdin.write("second\n")
        attached.stdin.flush()
        wait_until(lambda: os.path.getsize(got) == 13, "the second line")
        daemon.call("Kill", name="one")
        assert result(attached)[0] == 137


def test_several_names():
    with Daemon() as daemon:
        pids = [daemon.run(name, HANGING) for name in ["a", "c"]]
        code, output, errors = result(client(daemon, "kill", "a", "b", "c", "d"))
        assert code == 1 or code, (code, errors)
        assert "no applet b" in errors and errors.endswith("2 of 4 failed: b, d\n"), errors
        assert not any(map(is_alive, pids))
        code, output, errors = result(client(daemon, "rm", "b", "a", "c"))
        assert code and errors.endswith("1 of 3 failed: b\n") and daemon.call("List")["applets"] == []


if __name__ == "__main__":
    main(globals())

"""usage: board.py BOARD

Calls every method of a daemon on an emulated board, with PyPI's varlink client over `swiftlet bridge`.
"""
import base64
import os
import socket
import subprocess
import sys
import time

import varlink

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SERVICE = """interface org.varlink.service
method GetInfo() -> (vendor: string, product: string, version: string, url: string, interfaces: []string)
method GetInterfaceDescription(interface: string) -> (description: string)
"""
SCRIPT = """cd guests
swiftlet daemon 2>/tmp/log & until swiftlet metrics >/dev/null 2>&1; do usleep 20000; done
swiftlet bridge; status=$?; [ $status = 0 ] || { echo "bridge: $status"; cat /tmp/log; } >&2"""


def connect(board):
    here, there = socket.socketpair()
    guests = os.path.join(ROOT, "build", "arm64" if board.startswith("arm64") else "riscv64", "guests")
    process = subprocess.Popen([os.path.join(ROOT, "boards/run"), "--timeout", "240", "--add", guests, board, "--", "sh", "-c", SCRIPT],
                               stdin=there, stdout=there)
    there.close()
    return process, here


def fails(error, call, **parameters):
    """Asserts that a call answers this error, and gives its parameters."""
    try:
        call(**parameters)
    except varlink.VarlinkError as raised:
        assert raised.error() == error or raised.error() == "org.swiftlet.Control." + error, raised
        return raised.parameters()
    raise AssertionError(f"{call.__name__}({parameters}) was answered")


def text(reply):
    return base64.b64decode(reply["data"])


def encoded(data):
    return base64.b64encode(data).decode()


def exercise(connection):
    service = varlink.SimpleClientInterfaceHandler(varlink.Interface(SERVICE), connection)
    info = service.GetInfo()
    assert info["product"] == "swiftlet" and "org.swiftlet.Control" in info["interfaces"], info
    description = service.GetInterfaceDescription("org.swiftlet.Control")["description"]
    with open(os.path.join(ROOT, "share/varlink/org.swiftlet.Control.varlink")) as file:
        assert description == file.read()
    control = varlink.SimpleClientInterfaceHandler(varlink.Interface(description), connection)

    def start(name, image, **more):
        reply = control.Start(name=name, image=f"/root/guests/{image}.elf", **more)
        assert reply["name"] == name and reply["pid"] > 1, reply

    # The life of an applet, with arguments.
    start("hello", "hello", arguments=["a", "b"])
    assert control.Wait(name="hello") == {"state": "exited", "end": {"code": 0, "status": 0, "reason": "exited with status 0"}}
    assert b"arguments: a b\n" in text(control.Console(name="hello"))
    whole = b"".join(text(reply) for reply in control.Console(name="hello", follow=True, _more=True))
    assert whole.startswith(b"hello from Swift on "), whole
    assert text(control.Console(name="hello", offset=6)) == whole[6:]
    pieces = list(control.Console(name="hello", times=True, _more=True))
    assert b"".join(map(text, pieces)) == whole and all(piece["time"] > 0 for piece in pieces[:-1]), pieces
    fails("NameTaken", control.Start, name="hello", image="/root/guests/hello.elf")
    fails("WrongState", control.Stop, name="hello")
    fails("WrongState", control.Input, name="hello", data="")
    control.Remove(name="hello")
    fails("NoSuchApplet", control.Wait, name="hello")

    # Input.
    start("read", "read", input=True)
    assert control.Input(name="read", data=encoded(b"abc\n")) == {"taken": 4}
    assert control.Input(name="read", end=True) == {"taken": 0}
    assert control.Wait(name="read")["end"]["status"] == 0
    assert text(control.Console(name="read")) == b"abc\nread: 4 bytes\n"

    # A running applet: its details, its memory, its limits, its end.
    start("loop", "loop", debug=True, memory=8 << 20)
    fails("NotAllowed", control.Input, name="loop", data="")
    applet = next(applet for applet in control.List()["applets"] if applet["name"] == "loop")
    assert applet["state"] == "running" and applet["memory"] == 8 << 20, applet
    # It runs, but its first call may still follow.
    while (inspected := control.Inspect(name="loop"))["calls"] == 0 or not inspected.get("symbol", "").startswith("main"):
        time.sleep(0.02)
    assert inspected["resident"] > 0, inspected
    assert len(inspected["registers"]) >= 32
    stack = next(region for region in inspected["regions"] if region["use"] == "stack")
    address = stack["start"]
    control.Poke(name="loop", address=address, data=encoded(b"swiftlet"))
    assert text(control.Peek(name="loop", address=address, size=8)) == b"swiftlet"
    end = hex(int(stack["start"], 16) + stack["size"])
    assert fails("BadAddress", control.Peek, name="loop", address=end, size=1)["address"] == end
    fails("BadAddress", control.Peek, name="loop", address="0xfffffffffffffff8", size=64)
    fails("org.varlink.service.InvalidParameter", control.Peek, name="loop", address="12", size=1)
    fails("WrongState", control.Remove, name="loop")
    fails("org.varlink.service.InvalidParameter", control.SetLimits, name="loop", limits={"process_memory": 1 << 30})
    control.SetLimits(name="loop", limits={"deadline": 1})
    ended = control.Wait(name="loop")
    assert ended["state"] == "failed" and ended["end"]["code"] == 124, ended
    assert control.Inspect(name="loop")["symbol"].startswith("main")
    fails("WrongState", control.Peek, name="loop", address=address, size=8)

    start("two", "loop")
    fails("NotAllowed", control.Peek, name="two", address=address, size=8)
    assert control.Stop(name="two")["end"]["code"] == 125
    assert control.Wait(name="two")["state"] == "stopped"
    assert control.StartAgain(name="two")["pid"] > 1
    fails("WrongState", control.Remove, name="two")
    assert control.Inspect(name="two")["restart"]["policy"] == "no"
    assert control.StartAgain(name="two", grace=1000)["name"] == "two"
    assert control.Stop(name="two")["end"]["code"] == 125
    start("three", "loop")
    # It runs, but its first call may still follow.
    while (three := control.Statistics(name="three")["applets"][0])["calls"] == 0:
        time.sleep(0.02)
    assert (three["name"], three["state"], three["restarts"]) == ("three", "running", 0), three
    assert three["calls"] >= 1 and three["resident"] > 0 and three["guest_time"] >= 0 and three["monitor_time"] >= 0, three
    assert all(end["count"] == 0 for end in three["ends"]) and "deadline_left" not in three, three
    assert sum(count["count"] for count in three["call_counts"]) == three["calls"], three
    assert three["exits"] >= three["calls"] and "signal" in {count["kind"] for count in three["exit_counts"]}, three
    # Its call is measured if it came after a request for figures.
    assert sum(sum(latency["buckets"]) for latency in three["call_latencies"]) <= three["calls"], three
    assert control.Kill(name="three")["end"]["signal"] == 9
    # The calls after the first request for figures are in those of a later one.
    start("calls", "call-loop")
    def nanotime():
        latencies = control.Statistics(name="calls")["applets"][0]["call_latencies"]
        return next((latency for latency in latencies if latency["call"] == "nanotime"), None)
    while not (measured := nanotime()):
        time.sleep(0.02)
    assert measured["sum"] >= sum(measured["buckets"]) > 0 and len(measured["buckets"]) == 12, measured
    assert control.Kill(name="calls")["end"]["signal"] == 9

    # Copies in lockstep, which are not visible to clients, and an applet that is restarted until its limit.
    start("copies", "hello", copies=2)
    assert control.Wait(name="copies")["end"]["code"] == 0
    start("debugged", "loop", copies=1, debug=True)
    fails("NotAllowed", control.Poke, name="debugged", address=address, data=encoded(b"x"))
    assert len(text(control.Peek(name="debugged", address=address, size=8))) == 8
    control.Kill(name="debugged")
    start("again", "null-read", restart={"policy": "on_failure", "limit": 2, "delay": 50})
    assert control.Wait(name="again")["end"]["code"] == 121
    assert next(applet for applet in control.List()["applets"] if applet["name"] == "again")["restarts"] == 2

    # A program in system mode.
    start("system", "system-cpu-on", secure=False, cpus=3, arguments=["3"])
    assert control.Wait(name="system")["end"]["status"] == 0
    assert b"3 processors, sum 3" in text(control.Console(name="system"))
    start("processors", "system-loop", secure=False, cpus=3, arguments=["3"], debug=True)
    while b"spinning" not in text(control.Console(name="processors")):
        time.sleep(0.1)
    inspected = control.Inspect(name="processors")
    assert {register["processor"] for register in inspected["registers"]} == {0}, inspected
    region = next(region for region in inspected["regions"] if region["use"] == "heap")
    control.Poke(name="processors", address=region["start"], data=encoded(b"swiftlet"))
    assert text(control.Peek(name="processors", address=region["start"], size=8)) == b"swiftlet"
    assert control.Stop(name="processors")["end"]["code"] == 125
    registers = control.Inspect(name="processors")["registers"]
    assert {register["processor"] for register in registers} == {0, 1, 2}, registers
    # Each was in the program, whose memory begins there.
    assert all(int(register["value"], 16) >> 31 == 1 for register in registers if register["name"] == "pc"), registers
    for wrong, parameters in [("cpus", {"cpus": 2}), ("copies", {"secure": False, "copies": 1}),
                              ("cpus", {"secure": False, "cpus": 0}), ("secure", {"secure": 1}),
                              ("threads", {"limits": {"threads": 3}})]:
        raised = fails("org.varlink.service.InvalidParameter", control.Start, image="/root/guests/hello.elf", **parameters)
        assert raised["parameter"] == wrong, (parameters, raised)

    # Invalid starts.
    fails("BadImage", control.Start, image="/etc/passwd")
    fails("BadImage", control.Start, image="/nowhere")
    fails("org.varlink.service.InvalidParameter", control.Start, image="relative")
    fails("org.varlink.service.ExpectedMore", control.Events)

    # Of all applets, in one reply and in parts.
    fails("NoSuchApplet", control.Statistics, name="nobody")
    def by_name(applets):
        # The time of the start is rounded to a millisecond in each reply.
        return {applet["name"]: {name: value for name, value in applet.items() if name != "started"} for applet in applets}

    figures = by_name(control.Statistics()["applets"])
    assert figures == by_name(applet for part in control.Statistics(_more=True) for applet in part["applets"])
    assert set(figures) == {applet["name"] for applet in control.List()["applets"]}
    ends = {name: {end["kind"]: end["count"] for end in applet["ends"] if end["count"]} for name, applet in figures.items()}
    assert ends["again"] == {"fault": 3} and ends["loop"] == {"limit": 1} and ends["three"] == {"stopped": 1}, ends
    assert ends["two"] == {"stopped": 3}, ends
    assert ends["copies"] == {"exited": 1} and "resident" not in figures["copies"], figures

    metrics = control.Metrics()
    assert metrics["running"] == 0 and metrics["started"] == 16 and metrics["restarts"] == 2, metrics
    assert metrics["resident"] < 3 << 20, metrics

    # Events never ends, so it is the last call.
    start("last", "loop", limits={"deadline": 4000})
    events = control.Events(_more=True)
    assert next(events).get("event") is None
    event = next(events)
    assert (event["event"], event["name"]) == ("failed", "last"), event
    return metrics


def main():
    process, connection = connect(sys.argv[1])
    try:
        metrics = exercise(connection)
        print(f"daemon: {metrics['resident'] >> 10} KiB resident, {metrics['descriptors']} descriptors")
    finally:
        connection.close()
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()

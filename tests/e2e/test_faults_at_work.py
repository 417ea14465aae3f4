"""What goes wrong with a node at work, and what it makes of it; by itself, where it can.

One machine and one install; the tests are steps, and each leaves a node that serves.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from machine import Machine
from nodes import MODELS, UNIT, Node

from local_opus.server.watchdog import patience

pytestmark = pytest.mark.timeout(600)

CONFIG = "/etc/local-opus"
LAST_GOOD = "/var/lib/private/local-opus-server/last-good.json"
SOCKET = "local-opus.socket"
WEIGHTS = f"{MODELS}/cpu-q4_1"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/fault.conf"
#: Holds port 8000 from before the node's socket is opened, as anybody's service might.
SQUATTER = """[Unit]
DefaultDependencies=no
Before=local-opus.socket
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 8000
ExecStartPost=/bin/sh -c "until ss -Hltn | grep -q 127.0.0.1:8000; do sleep 0.1; done"
[Install]
WantedBy=multi-user.target
"""
#: Seconds that a start anew may take, with all that else runs.
AGAIN = 90

Measured = Callable[[str], None]


def status(machine: Machine) -> dict[str, object]:
    found: dict[str, object] = json.loads(machine.run("local-opus", "status", "--json").out)
    return found


def check(machine: Machine, name: str) -> dict[str, object]:
    """Return what doctor finds by one of its checks."""
    done = machine.run("local-opus", "doctor", "--json", timeout=180)
    return next(one for one in json.loads(done.out)["results"] if one["id"] == name)


def journal(machine: Machine, since: str) -> str:
    """Return what the server and systemd said of it since a time (``now``)."""
    return machine.run("journalctl", "-u", UNIT, "--output=cat", f"--since={since}").out


def now(machine: Machine) -> str:
    return machine.run("date", "+%Y-%m-%d %H:%M:%S").out.strip()


def engine_of(node: Node) -> str:
    """Return the number of the engine's process."""
    pid = node.properties("MainPID")["MainPID"]
    script = f"""for child in $(cat /proc/{pid}/task/*/children)
        do grep -qa runtime.engine /proc/$child/cmdline && echo $child; done"""
    numbers = node.shell(script).out.split()
    assert len(numbers) == 1, numbers
    return numbers[0]


def health(machine: Machine) -> dict[str, object]:
    """Ask the server itself, which answers whatever its engine does."""
    script = (
        "import sys, urllib.request\n"
        "sys.stdout.write(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())"
    )
    done = machine.run("python3", "-c", script, "http://127.0.0.1:8000/health")
    found: dict[str, object] = json.loads(done.out) if done.code == 0 else {}
    return found


def asked(machine: Machine) -> dict[str, object]:
    """Return what the server says of its engine."""
    found = health(machine)["engine"]
    assert isinstance(found, dict)
    return found


def silence(machine: Machine) -> float:
    """Return how long the engine may be silent: as measured, so more on a busy machine."""
    return float(str(asked(machine)["turn_limit"]))


def wait(seconds: float, happens: Callable[[], object], what: str) -> float:
    """Wait until it happens; return the seconds that took."""
    begin = time.monotonic()
    while not happens():
        assert time.monotonic() - begin < seconds, what
        time.sleep(0.5)
    return time.monotonic() - begin


def failed(node: Node) -> bool:
    return node.properties("ActiveState")["ActiveState"] == "failed"


@contextmanager
def drop_in(node: Node, text: str) -> Iterator[None]:
    """Start the server with an administrator's drop-in, and later without it again."""
    node.shell(
        f"mkdir -p {DROP_IN.rpartition('/')[0]}; printf '%b' '{text}' >{DROP_IN}; "
        f"systemctl daemon-reload; systemctl restart {UNIT}"
    )
    try:
        yield
    finally:
        node.shell(
            f"rm {DROP_IN}; rmdir {DROP_IN.rpartition('/')[0]} || true; systemctl daemon-reload; "
            "systemctl reset-failed; local-opus start"
        )


def serves_again(node: Node) -> None:
    node.wait_ready(AGAIN)
    node.assert_answers()


def test_a_node_is_installed(node: Node) -> None:
    done = node.install()
    assert done.code == 0, done
    # What it makes of a server that hangs is of test_monitor.py.
    node.shell("systemctl stop local-opus-monitor.timer")
    node.assert_answers()


def test_an_engine_that_hangs_is_started_again_by_the_server(
    node: Node, machine: Machine, measured: Measured
) -> None:
    pid, engine = node.properties("MainPID")["MainPID"], engine_of(node)
    limit = silence(machine)
    node.send("STOP", engine)
    # The server, which is not stopped, answers all the while.
    took = wait(limit + 15, lambda: asked(machine)["pid"] != int(engine), "it hangs on")
    measured(f"an engine that hangs: ended after {took:.0f} s, its limit {limit:.0f} s")
    wait(AGAIN, lambda: asked(machine)["state"] == "ready", "it does not come back")
    node.assert_answers()
    assert node.properties("MainPID", "NRestarts") == {"MainPID": pid, "NRestarts": "0"}
    assert engine_of(node) != engine
    assert "its loop did not turn for" in str(asked(machine)["last_end"])


def test_the_watchdog_leaves_an_idle_server_and_ends_one_that_hangs(
    node: Node, machine: Machine, measured: Measured
) -> None:
    since = now(machine)
    with drop_in(node, "[Service]\\nWatchdogSec=2\\n"):
        node.wait_ready(AGAIN)
        pid = node.properties("MainPID")["MainPID"]
        time.sleep(20)
        assert node.properties("MainPID", "NRestarts") == {"MainPID": pid, "NRestarts": "0"}
        assert "Watchdog timeout" not in journal(machine, since)
        # The engine, and who would start it again. The server asked systemd for its own patience.
        limit = patience(silence(machine))
        node.send("STOP", engine_of(node), pid)
        took = wait(
            limit + 30,
            lambda: node.properties("MainPID")["MainPID"] not in {pid, "0"},
            "the watchdog did not end it",
        )
        measured(f"a server that hangs: started again after {took:.0f} s, limit {limit:.0f} s")
        serves_again(node)
        assert "Watchdog timeout" in journal(machine, since)
        assert node.properties("NRestarts")["NRestarts"] == "1"


def test_a_load_that_is_slower_than_the_time_for_a_start_comes_up(
    node: Node, machine: Machine, measured: Measured
) -> None:
    # Really slow: a part of a processor. The files are read and compiled as ever.
    begin = time.monotonic()
    with drop_in(node, "[Service]\\nTimeoutStartSec=2\\nCPUAffinity=0\\nNice=19\\n"):
        took = time.monotonic() - begin
        measured(f"with TimeoutStartSec=2: up after {took:.1f} s")
        assert took > 2  # else nothing was proven
        serves_again(node)
        assert node.properties("NRestarts", "Result") == {"NRestarts": "0", "Result": "success"}
    assert machine.run("systemctl", "is-active", UNIT).out.strip() == "active"


@pytest.mark.parametrize(
    ("what", "named"),
    [
        (f"chmod 0600 {WEIGHTS}/openvino_model.bin", "openvino_model.bin: unproven: can't be read"),
        (f"chmod 0700 {WEIGHTS}", f"{WEIGHTS}/weights.json: permission denied"),
    ],
    ids=("file", "folder"),
)
def test_weights_that_the_service_may_not_read_are_named_once(
    node: Node, machine: Machine, what: str, named: str
) -> None:
    node.shell(f"systemctl stop {UNIT}; {what}")
    since = now(machine)
    started = machine.run("local-opus", "start")
    assert started.code != 0, started
    assert WEIGHTS in started.err, started
    assert named in started.err, started
    assert node.properties("ActiveState", "NRestarts") == {
        "ActiveState": "failed",
        "NRestarts": "0",
    }
    time.sleep(3)  # longer than RestartSec=
    assert failed(node)
    said_once = re.findall("^error: ", journal(machine, since), re.MULTILINE)  # not uvicorn.error
    assert len(said_once) == 1
    said = json.dumps(status(machine)), json.dumps(check(machine, "unit"))
    assert all(named in one for one in said), said
    repaired = node.install()
    assert repaired.code == 0, repaired
    serves_again(node)


def test_a_config_edited_to_nonsense_leaves_the_last_good_one_serving(
    node: Node, machine: Machine
) -> None:
    path = f"{CONFIG}/server.json"
    since = now(machine)
    node.shell(
        f"""cp -p {path} /root/server.json; sed -i 's/"port": 8000/"port": "many"/' {path}"""
        f"; grep -q many {path}; systemctl restart {UNIT}"
    )
    try:
        wait(60, lambda: health(machine).get("engine"), "it does not serve")
        problem = str(health(machine)["config_problem"])
        assert f"{path}: port: " in problem
        assert f"{path}: port: " in journal(machine, since)
        assert f"{path}: port: " in json.dumps(status(machine))
        assert f"{path}: port: " in json.dumps(check(machine, "config"))
        assert node.properties("ActiveState", "NRestarts") == {
            "ActiveState": "active",
            "NRestarts": "0",
        }
    finally:
        node.shell(f"cp -p /root/server.json {path}; rm /root/server.json")
    node.shell(f"systemctl restart {UNIT}")
    serves_again(node)
    assert health(machine)["config_problem"] is None


def test_a_port_that_is_taken_at_boot_is_named_and_the_machine_is_fine(
    node: Node, machine: Machine
) -> None:
    node.shell(
        f"cat >/etc/systemd/system/squatter.service <<'E'\n{SQUATTER}E\n"
        "systemctl daemon-reload; systemctl enable --quiet squatter.service"
    )
    assert machine.reboot() == "degraded"
    broken = machine.run("systemctl", "--failed", "--plain", "--no-legend").out
    assert all(line.startswith("local-opus") for line in broken.splitlines()), broken
    said = json.dumps(status(machine))
    assert "8000" in said
    assert "python3" in said
    taken = machine.run("local-opus", "start")
    assert taken.code != 0, taken
    assert "8000" in taken.err
    node.shell("systemctl disable --quiet --now squatter.service")
    free = machine.run("local-opus", "start", timeout=120)
    assert free.code == 0, free
    serves_again(node)
    assert machine.run("systemctl", "is-system-running").out.strip() == "running"
    node.shell("rm /etc/systemd/system/squatter.service; systemctl daemon-reload")


def test_a_missing_device_is_named_with_its_remedy(
    node: Node, machine: Machine, measured: Measured
) -> None:
    """Set to a GPU where there is no /dev/dri, and no earlier settings to fall back on."""
    assert machine.run("test", "-e", "/dev/dri").code == 1
    path = f"{CONFIG}/model.json"
    node.shell(
        f"systemctl stop {SOCKET} {UNIT}; cp -p {path} /root/; rm {LAST_GOOD}; "
        f"""sed -i 's/"device": "CPU"/"device": "GPU"/' {path}; grep -q GPU {path}"""
    )
    try:
        started = machine.run("local-opus", "start", timeout=180)
        assert started.code != 0, started
        (error,) = [line for line in started.err.splitlines() if line.startswith("error: ")]
        measured(error)
        assert "GPU" in error
        assert "doctor` what GPU lacks" in started.err, started
        wait(AGAIN, lambda: failed(node), "it is tried for ever")
        # StartLimitBurst=: the last is counted, and refused.
        assert int(node.properties("NRestarts")["NRestarts"]) <= 6
        assert "GPU" in json.dumps(check(machine, "unit"))
    finally:
        node.shell(f"cp -p /root/model.json {path}; rm /root/model.json")
    assert machine.run("local-opus", "start", timeout=120).code == 0
    serves_again(node)


def test_a_missing_render_group_is_named_or_does_not_matter(node: Node, machine: Machine) -> None:
    """The unit of an accelerator names a group that somebody has removed."""
    node.shell("getent group render >/dev/null && groupdel render || true")
    since = now(machine)
    script = (
        f"mkdir -p /run/systemd/system/{UNIT}.d; printf '[Service]\\nSupplementaryGroups=render\\n'"
    )
    node.shell(f"{script} >/run/systemd/system/{UNIT}.d/gpu.conf; systemctl daemon-reload")
    try:
        started = machine.run("local-opus", "stop")
        assert started.code == 0, started
        started = machine.run("local-opus", "start", timeout=180)
        if started.code != 0:
            error = next(line for line in started.err.splitlines() if line.startswith("error: "))
            assert "render" in error, (started, journal(machine, since))
    finally:
        node.shell(
            f"rm -r /run/systemd/system/{UNIT}.d; systemctl daemon-reload; "
            "systemctl reset-failed; groupadd --system render"
        )
    assert machine.run("local-opus", "start", timeout=120).code == 0
    serves_again(node)

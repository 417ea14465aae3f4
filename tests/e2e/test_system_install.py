"""The README's commands as root under a real systemd: install, use, reboot, break, take back.

One machine; the tests are steps in this order.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from lab import INSIDE, MODEL
from machine import Machine
from nodes import LEFT_OUT, MODELS, UNIT, Node
from runs import wait_gone
from tree import Tree, difference, snapshot

pytestmark = pytest.mark.timeout(600)

USER = "ann"
#: systemd-analyze security: 0 is safe, 10 is not. Measured 1.3; hardening must not get lost.
EXPOSURE = 1.5
#: Seconds in which an install that has nothing to do says so.
NO_CHANGES_SECONDS = 2.0

Measured = Callable[[str], None]


def test_the_machine_is_bare(machine: Machine, before: Tree) -> None:
    assert machine.run("systemctl", "is-system-running").out.strip() == "running"
    assert machine.run("useradd", "--create-home", USER).code == 0
    before |= snapshot(machine)
    assert not [path for path in before if "local-opus" in path and not path.startswith(INSIDE)]


def test_one_command_installs(node: Node, measured: Measured) -> None:
    done = node.install()
    measured(f"install: {done.seconds:.1f} s")
    assert done.code == 0, done
    assert "http://127.0.0.1:8000" in done.out
    assert MODEL in done.out
    found = node.properties("ActiveState", "UnitFileState", "Type", "NRestarts")
    assert found == {
        "ActiveState": "active",
        "UnitFileState": "enabled",
        "Type": "notify",
        "NRestarts": "0",
    }


def test_it_answers(node: Node) -> None:
    node.assert_answers()


def test_status_tells_what_runs(node: Node) -> None:
    status = node.wait_ready()
    assert status["how"] == "systemd"
    assert status["scope"] == "system"
    assert status["model"] == MODEL
    assert str(status["pid"]) == node.properties("MainPID")["MainPID"]


def test_an_ordinary_user_talks_to_it_and_can_not_stop_it(node: Node, machine: Machine) -> None:
    node.assert_answers(user=USER)
    stop = machine.run("local-opus", "stop", user=USER)
    assert stop.code == 1, stop
    assert "root" in stop.err
    assert node.properties("ActiveState")["ActiveState"] == "active"


def test_the_sandbox_holds(machine: Machine, measured: Measured) -> None:
    done = machine.run("systemd-analyze", "security", "--no-pager", UNIT)
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.out)
    assert found is not None, done
    measured(f"exposure: {found[1]}")
    assert float(found[1]) <= EXPOSURE, done


def test_systemd_finds_nothing_wrong_with_the_unit(machine: Machine) -> None:
    done = machine.run("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{UNIT}")
    assert (done.code, done.out, done.err) == (0, "", ""), done


def test_the_service_can_not_write_what_root_relies_on(node: Node, machine: Machine) -> None:
    pid = node.properties("MainPID")["MainPID"]
    status = machine.run("cat", f"/proc/{pid}/status").out
    user = re.search(r"^Uid:\t(\d+)", status, re.MULTILINE)
    group = machine.run("getent", "group", "local-opus").out.split(":")[2]
    assert user is not None
    assert 61184 <= int(user[1]) <= 65519, "not a dynamic user (systemd.exec(5), DynamicUser=)"
    as_service = ("setpriv", f"--reuid={user[1]}", f"--regid={user[1]}", f"--groups={group}")
    roots = ("/opt/local-opus", "/etc/local-opus", "/var/lib/local-opus", "/etc/systemd/system")
    writable = machine.run(*as_service, "find", *roots, "-writable", "!", "-type", "l")
    assert writable.out == "", writable
    readable = machine.run(*as_service, "cat", "/etc/local-opus/server.json")
    assert readable.code == 0, readable
    receipt = machine.run("stat", "--format=%U:%G %a", "/var/lib/local-opus/receipt.jsonl")
    assert receipt.out == "root:root 600\n"
    assert machine.run(*as_service, "cat", "/var/lib/local-opus/receipt.jsonl").code == 1
    config = machine.run(
        "stat", "--format=%U:%G %a", "/etc/local-opus", "/etc/local-opus/server.json"
    )
    assert config.out == "root:local-opus 750\nroot:local-opus 640\n"


def test_the_same_command_again_changes_nothing(node: Node, measured: Measured) -> None:
    pid = node.properties("MainPID")
    done = node.install()
    measured(f"again: {done.seconds:.2f} s")
    assert done.code == 0, done
    assert "no changes" in done.out
    assert done.seconds < NO_CHANGES_SECONDS
    assert node.properties("MainPID") == pid


def test_it_serves_again_after_a_reboot(node: Node, machine: Machine) -> None:
    assert machine.reboot() == "running"
    node.wait_ready()
    node.assert_answers()
    done = node.install()
    assert "no changes" in done.out, done


def test_stop_and_start(node: Node, machine: Machine) -> None:
    stop = machine.run("local-opus", "stop")
    assert stop.code == 0, stop
    assert stop.seconds < 6
    assert node.properties("ActiveState", "Result") == {
        "ActiveState": "inactive",
        "Result": "success",
    }
    assert machine.run("local-opus", "status", "--json").code == 3
    start = machine.run("local-opus", "start")
    assert start.code == 0, start
    node.assert_answers()


def test_systemd_starts_a_server_again_that_was_killed(node: Node) -> None:
    pid = node.properties("MainPID")["MainPID"]
    node.send("KILL", pid)
    assert str(wait_another(node, pid)["pid"]) != pid
    assert node.properties("NRestarts")["NRestarts"] == "1"
    node.assert_answers()


def test_the_server_starts_an_engine_again_that_was_killed(node: Node, machine: Machine) -> None:
    pid = node.properties("MainPID")["MainPID"]
    engine = machine.run("cat", f"/proc/{pid}/task/{pid}/children").out.split()
    assert len(engine) == 1
    node.send("KILL", *engine)
    assert str(node.wait_ready()["pid"]) == pid
    node.assert_answers()


def test_the_watchdog_ends_a_server_that_hangs(node: Node, machine: Machine) -> None:
    folder = f"/run/systemd/system/{UNIT}.d"
    script = (
        f"mkdir -p {folder} && printf '[Service]\\nWatchdogSec=2\\n' >{folder}/quick.conf "
        f"&& systemctl daemon-reload && systemctl restart {UNIT}"
    )
    assert machine.run("sh", "-c", script).code == 0
    pid = node.properties("MainPID")["MainPID"]
    time.sleep(5)
    assert node.properties("MainPID")["MainPID"] == pid, "the watchdog ended an idle server"
    node.send("STOP", pid)
    assert str(wait_another(node, pid)["pid"]) != pid
    node.assert_answers()
    script = f"rm -r {folder} && systemctl daemon-reload && systemctl restart {UNIT}"
    assert machine.run("sh", "-c", script).code == 0
    assert node.properties("WatchdogUSec")["WatchdogUSec"] == "1min"


def wait_another(node: Node, pid: str) -> dict[str, object]:
    """Wait until a server with another PID is ready."""
    deadline = time.monotonic() + 30
    while node.properties("MainPID")["MainPID"] in {pid, "0"}:
        assert time.monotonic() < deadline, "systemd did not start it again"
        time.sleep(0.2)
    return node.wait_ready()


def test_an_upgrade_that_fails_leaves_the_former_server(node: Node, machine: Machine) -> None:
    # The new server does not come up: this unit refuses every port but the former one.
    folder = f"/run/systemd/system/{UNIT}.d"
    refuse = "ExecStartPre=/bin/grep -q 8000 /etc/local-opus/server.json"
    script = f"mkdir -p {folder} && printf '[Service]\\n{refuse}\\n' >{folder}/refuse.conf"
    assert machine.run("sh", "-c", script).code == 0
    done = node.install("--port", "8125")
    assert done.code == 1, done
    assert f"{UNIT} did not start" in done.err
    assert node.wait_ready()["url"] == "http://127.0.0.1:8000"
    node.assert_answers()
    script = f"rm -r {folder} && systemctl daemon-reload"
    assert machine.run("sh", "-c", script).code == 0


def test_a_damaged_file_stops_the_start_with_its_name(node: Node, machine: Machine) -> None:
    weights = f"{MODELS}/cpu-q4_1/openvino_model.bin"
    damage = (
        "import sys; f = open(sys.argv[1], 'r+b'); f.seek(50_000_000); b = f.read(1); "
        "f.seek(50_000_000); f.write(bytes([b[0] ^ 1]))"
    )
    assert machine.run("python3", "-c", damage, weights).code == 0
    assert machine.run("local-opus", "stop").code == 0
    start = machine.run("local-opus", "start")
    assert start.code == 1, start
    assert "openvino_model.bin: corrupt" in start.err
    assert node.properties("ActiveState", "NRestarts") == {
        "ActiveState": "failed",
        "NRestarts": "0",
    }
    repaired = node.install()
    assert repaired.code == 0, repaired
    node.assert_answers()


def test_uninstall_leaves_the_machine_as_it_was(
    machine: Machine, before: Tree, measured: Measured
) -> None:
    # The installed program removes itself: the checkout may be gone by then.
    done = machine.run("local-opus", "uninstall", "--purge", "--yes")
    measured(f"uninstall: {done.seconds:.1f} s")
    assert done.code == 0, done
    assert difference(before, snapshot(machine), LEFT_OUT) == []
    assert machine.run("getent", "group", "local-opus").code == 2  # getent(1): not found
    units = machine.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "local-opus*")
    assert units.out == ""
    wait_gone(machine)
    volatile = machine.run("find", "/run", "/tmp", "/dev/shm", "-iname", "*local?opus*")
    assert volatile.out == ""
    assert machine.run("systemctl", "is-system-running").out.strip() == "running"

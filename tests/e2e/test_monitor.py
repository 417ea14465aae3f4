"""The monitor on a machine with a real systemd: it looks, recovers, and gives up with the reason.

One machine; the tests are steps in this order. The profile looks every five seconds, so that what
takes minutes on a user's machine takes one here.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from lab import MODEL
from machine import Machine
from nodes import LEFT_OUT, MODELS, UNINSTALL, UNIT, Node
from prometheus_client.parser import text_string_to_metric_families
from runs import wait_gone
from tree import Tree, difference, snapshot

pytestmark = pytest.mark.timeout(1200)

STATE = "/var/lib/private/local-opus-monitor"
MONITOR, TIMER = "local-opus-monitor.service", "local-opus-monitor.timer"
RECOVER = "local-opus-recover.service"
PROFILE = """
name = "watched"
description = "local-opus with a monitor in a hurry"
extends = "local-opus"

[machine]
enabled = false

[monitor]
interval_seconds = 5
sick_after = 2
canary_every = 1
canary_seconds = 10
"""
#: What StartLimitBurst allows, with the first start.
STARTS = 6


def server(node: Node) -> dict[str, object]:
    """What the monitor keeps of the server."""
    done = node.machine.run("cat", f"{STATE}/state.json")
    return json.loads(done.out)["servers"]["system"] if done.code == 0 else {}


def wait(node: Node, what: str, condition: Callable[[], object], seconds: float) -> float:
    """Wait until a condition holds; return the seconds that it took."""
    begin = time.monotonic()
    while not condition():
        waited = time.monotonic() - begin
        journal = node.machine.run("journalctl", "-n", "80", "--no-pager", "-u", "local-opus*").out
        assert waited < seconds, f"{what}: not within {seconds} s\n{server(node)}\n{journal}"
        time.sleep(0.5)
    return time.monotonic() - begin


def condition(node: Node) -> str:
    """Return what the last look found; the file leaves out what is as at the begin."""
    last = server(node).get("last", {})
    return str(last.get("condition", "stopped"))


def unit(node: Node, name: str, *properties: str) -> dict[str, str]:
    done = node.machine.run("systemctl", "show", f"--property={','.join(properties)}", name)
    return dict(line.split("=", 1) for line in done.out.splitlines())


def found_well(node: Node, pid: str) -> bool:
    """Whether the last look found this process healthy.

    The bus does not know the monitor's user: it can't tell one that hangs from one that starts
    before it was heard.
    """
    last = server(node).get("last", {})
    return (str(last.get("pid")), last.get("condition")) == (pid, "healthy")


def looks(node: Node) -> int:
    return int(server(node).get("counts", {}).get("looks", 0))


def main_pid(node: Node) -> str:
    return node.properties("MainPID")["MainPID"]


def test_the_timer_runs_and_the_dynamic_user_writes_the_state(
    node: Node, machine: Machine, before: Tree, measured: Callable[[str], None]
) -> None:
    before |= snapshot(machine)
    node.shell(f"cat > /root/watched.toml <<'END'\n{PROFILE}\nEND")
    done = node.call("./installer", "--profile", "/root/watched.toml", "--model", MODEL, "--yes")
    assert done.code == 0, f"{done}{node.machine.run('journalctl', '-n', '60', '--no-pager')}"
    wait(node, "two looks", lambda: looks(node) >= 2, 40)
    found = server(node)
    last = found["last"]
    assert (last["condition"], last["how"], last["unit"]) == ("healthy", "systemd", UNIT)
    assert found["canary"]["tokens"] >= 2
    assert last["weights"]["files"] > 1
    owner = node.shell(f"stat -c '%U %a' {STATE} {STATE}/state.json {STATE}/metrics.prom").out
    assert owner.split() == ["local-opus-monitor", "755", "local-opus-monitor", "644",
                             "local-opus-monitor", "644"] or "UNKNOWN" in owner  # fmt: skip
    assert "root" not in owner
    timer = unit(node, TIMER, "ActiveState", "UnitFileState")
    assert timer == {"ActiveState": "active", "UnitFileState": "enabled"}
    used = unit(node, MONITOR, "CPUUsageNSec")["CPUUsageNSec"]
    measured(f"monitor: CPU of one look {int(used) / 1e9:.2f} s")


def test_the_metrics_are_what_prometheus_reads(node: Node) -> None:
    for text in (node.shell(f"cat {STATE}/metrics.prom").out,
                 node.shell("local-opus monitor --prometheus").out):  # fmt: skip
        names = {family.name for family in text_string_to_metric_families(text)}
        assert "local_opus_server_canary_first_token_seconds" in names


def test_the_sandbox_of_its_units(node: Node, measured: Callable[[str], None]) -> None:
    for name, most in ((MONITOR, 1.0), (RECOVER, 0.5)):
        done = node.machine.run("systemd-analyze", "security", "--no-pager", name)
        level = float(done.out.rpartition("exposure level for ")[2].split(":")[1].split()[0])
        measured(f"{name}: exposure {level}")
        assert level <= most, done.out


def test_who_may_not_read_it_is_told_so(node: Node) -> None:
    node.shell("useradd -m ann")
    done = node.machine.run("local-opus", "monitor", "--once", "--json", user="ann")
    assert done.code == 0, done
    seen = json.loads(done.out)["servers"][0]
    assert (seen["condition"], seen["weights"]["skipped"]) == ("healthy", None) or seen["weights"]
    assert seen["baseline_tokens_per_second"] is None
    logs = node.machine.run("local-opus", "logs", user="ann")
    assert logs.code != 0
    assert "systemd-journal" in logs.err, logs


def test_a_server_stopped_by_its_admin_is_left_alone(node: Node) -> None:
    # The socket too, as `local-opus stop` does: whoever connects there starts the server again.
    node.shell(f"systemctl stop local-opus.socket {UNIT}")
    seen = looks(node)
    wait(node, "looks", lambda: looks(node) >= seen + 4, 60)
    found = server(node)
    assert condition(node) == "stopped"
    assert not found.get("recoveries")
    node.shell(f"systemctl start {UNIT}")
    wait(node, "healthy", lambda: condition(node) == "healthy", 120)


def test_a_monitor_that_fails_itself_ends_no_server(node: Node) -> None:
    pid = main_pid(node)
    path = "/etc/local-opus/monitor.json"
    node.shell(f"cp -p {path} /root/kept; echo '{{\"interval_seconds\": 0}}' > {path}")
    wait(node, "failed", lambda: unit(node, MONITOR, "Result")["Result"] == "exit-code", 30)
    wait(node, "recover is asked", lambda: "condition" in node.machine.run(
        "journalctl", "--no-pager", "-u", RECOVER).out.casefold() or unit(
        node, RECOVER, "ConditionResult")["ConditionResult"] == "no", 30)  # fmt: skip
    assert "interval_seconds" in node.machine.run("journalctl", "--no-pager", "-u", MONITOR).out
    node.shell(f"cp -p /root/kept {path}")
    wait(node, "well again", lambda: unit(node, MONITOR, "Result")["Result"] == "success", 30)
    assert main_pid(node) == pid
    assert node.machine.run("systemctl", "is-system-running").out.strip() == "running"


def test_a_server_that_hangs_is_started_anew(node: Node, measured: Callable[[str], None]) -> None:
    # The watchdog would see to it too, later: here the monitor is what is tried.
    node.shell(f"mkdir -p /etc/systemd/system/{UNIT}.d; printf '[Service]\\nWatchdogSec=0\\n' "
               f"> /etc/systemd/system/{UNIT}.d/test.conf; systemctl daemon-reload; "
               f"systemctl reset-failed; systemctl restart {UNIT}")  # fmt: skip
    pid = main_pid(node)
    wait(node, "healthy", lambda: found_well(node, pid), 60)
    node.send("STOP", pid)
    took = wait(node, "another process", lambda: main_pid(node) not in {pid, "0"}, 180)
    measured(f"monitor: a server that hangs is started anew after {took:.0f} s")
    wait(node, "healthy", lambda: condition(node) == "healthy", 120)
    recovery = server(node)["recoveries"][0]
    assert "no answer within" in " ".join(recovery["reasons"])
    assert node.machine.run("systemctl", "is-system-running").out.strip() == "running"


def test_one_that_always_hangs_is_given_up_by_systemd(
    node: Node, measured: Callable[[str], None]
) -> None:
    node.shell(f"systemctl reset-failed {UNIT}; systemctl restart {UNIT}")
    begin, starts = time.monotonic(), set()
    while node.properties("ActiveState")["ActiveState"] != "failed":
        assert time.monotonic() - begin < 850, server(node)
        pid = main_pid(node)
        active = node.properties("ActiveState")["ActiveState"] == "active"
        if pid not in {"0", *starts} and active and found_well(node, pid):
            starts.add(pid)
            node.machine.run("sh", "-c", f"kill -STOP {pid}")
        time.sleep(1)
    measured(f"monitor: given up after {len(starts)} starts, {time.monotonic() - begin:.0f} s")
    assert len(starts) <= STARTS
    seen = looks(node)
    wait(node, "looks", lambda: looks(node) >= seen + 4, 60)
    found = server(node)
    assert condition(node) in {"failed", "stopped"}
    recoveries = len(found["recoveries"])
    wait(node, "looks", lambda: looks(node) >= seen + 8, 60)
    assert len(server(node)["recoveries"]) == recoveries
    status = node.machine.run("local-opus", "status")
    assert status.code == 3
    assert "failed, looked" in status.out, status
    assert "no answer within" in status.out, status
    node.shell(f"systemctl reset-failed {UNIT}; systemctl start {UNIT}")
    wait(node, "healthy", lambda: condition(node) == "healthy", 120)


def test_weights_swapped_while_it_serves(node: Node) -> None:
    path = node.shell(f"find {MODELS} -name openvino_model.bin").out.split()[0]
    node.shell(f"cp -p {path} /root/weights; printf x | dd of={path} bs=1 seek=4096 conv=notrunc")
    wait(node, "failed", lambda: node.properties("ActiveState")["ActiveState"] == "failed", 180)
    wait(node, "seen", lambda: condition(node) in {"failed", "stopped"}, 30)
    assert node.properties("Result", "ExecMainStatus") == {"Result": "exit-code",
                                                           "ExecMainStatus": "3"}  # fmt: skip
    status = node.machine.run("local-opus", "status")
    assert status.code == 3
    assert f"{path}: changed since it was verified" in status.out, status
    node.shell(f"cp -p /root/weights {path}; systemctl reset-failed {UNIT}; "
               f"systemctl start {UNIT}")  # fmt: skip
    wait(node, "healthy", lambda: condition(node) == "healthy", 120)


def test_the_state_survives_a_kill_and_damage(node: Node) -> None:
    seen = looks(node)
    for _ in range(3):
        node.shell(f"systemctl start --no-block {MONITOR}; sleep 0.4; "
                   f"systemctl kill --signal=SIGKILL {MONITOR} || true")  # fmt: skip
    wait(node, "looks go on", lambda: looks(node) > seen, 60)
    node.shell(f"echo nonsense > {STATE}/state.json")
    wait(node, "put aside", lambda: node.machine.run(
        "grep", "-q", "nonsense", f"{STATE}/state.json.damaged").code == 0, 30)  # fmt: skip
    wait(node, "looks begin anew", lambda: 1 <= looks(node) < seen, 30)
    assert main_pid(node) != "0"


def test_the_logs_of_all_units(node: Node) -> None:
    done = node.shell("local-opus logs --unit all -n 500")
    assert "serving" in done.out.casefold()
    assert "sick" in node.shell("local-opus logs --unit monitor -n 500").out
    assert "local-opus" not in node.shell("local-opus logs --since '1 second ago' -n 5").out


def test_nothing_is_left(node: Node, machine: Machine, before: Tree) -> None:
    node.shell(f"rm -r /etc/systemd/system/{UNIT}.d; rm /root/watched.toml /root/kept "
               "/root/weights; userdel -r ann")  # fmt: skip
    done = node.call(*UNINSTALL)
    assert done.code == 0, done
    wait_gone(machine)
    left = {**LEFT_OUT, "/etc/passwd*": "a user of this test", "/etc/shadow*": "the same",
            "/etc/subuid*": "the same", "/etc/subgid*": "the same",
            "/etc/gshadow": "the same", "/etc/group": "the same"}  # fmt: skip
    assert difference(before, snapshot(machine), left) == []

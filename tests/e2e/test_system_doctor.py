"""Doctor under a real systemd: the unit's state, and the devices from inside its sandbox.

One machine; the tests are steps in this order.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from machine import Machine
from nodes import LEFT_OUT, UNINSTALL, UNIT, Node
from tree import Tree, difference, snapshot

pytestmark = pytest.mark.timeout(600)

USER = "ann"
DROP_IN = f"/etc/systemd/system/{UNIT}.d/limits.conf"

Measured = Callable[[str], None]


def ask(
    machine: Machine, *words: str, code: int = 0, user: str | None = None
) -> dict[str, dict[str, object]]:
    """Return what each check found, by its id."""
    done = machine.run("local-opus", "doctor", "--json", *words, user=user, timeout=120)
    document = json.loads(done.out)
    odd = [one for one in document["results"] if one["state"] in {"warn", "fail"}]
    assert done.code == code, (odd, document["fixes"], done.err)
    return {one["id"]: one for one in document["results"]}


def test_before_an_install_there_is_no_unit_to_look_from(
    node: Node, machine: Machine, before: Tree
) -> None:
    assert machine.run("useradd", "--create-home", USER).code == 0
    before |= snapshot(machine)
    done = node.call("./installer", "doctor", "--as-service")
    assert done.code == 4, done
    assert "not installed" in done.err


def test_a_sound_node_passes(node: Node, machine: Machine, measured: Measured) -> None:
    done = node.install()
    assert done.code == 0, done
    node.wait_ready()
    found = ask(machine)
    odd = {id_: one["evidence"] for id_, one in found.items() if one["state"] == "fail"}
    assert odd == {}
    assert found["unit"]["state"] == "pass", found["unit"]
    done = machine.run("local-opus", "doctor")
    measured(f"doctor: {done.seconds:.1f} s")


def test_the_sandbox_of_the_unit_runs_an_inference(node: Node, machine: Machine) -> None:
    pid = node.properties("MainPID")
    found = ask(machine, "--as-service")
    cpu = found["device-cpu"]
    assert cpu["state"] == "pass", cpu
    assert "a small matrix product was right, on CPU" in str(cpu["evidence"])
    assert node.properties("MainPID") == pid
    node.assert_answers()
    units = machine.run("systemctl", "list-units", "--all", "--no-legend", "run-*.service").out
    assert "local_opus" not in units


def test_a_drop_in_that_breaks_the_sandbox_is_seen_from_inside_alone(
    node: Node, machine: Machine
) -> None:
    # The engine needs memory that can be written and run: refused, OpenVINO can't compile.
    node.shell(
        f"mkdir -p $(dirname {DROP_IN}); printf '[Service]\\nMemoryDenyWriteExecute=yes\\n' > {DROP_IN};"
        " systemctl daemon-reload"
    )
    outside = ask(machine)
    assert outside["device-cpu"]["state"] == "pass", outside["device-cpu"]
    assert DROP_IN in str(outside["unit"]["evidence"])
    inside = ask(machine, "--as-service", code=3)["device-cpu"]
    assert inside["state"] == "fail", inside
    node.shell(f"rm -r $(dirname {DROP_IN}); systemctl daemon-reload")
    assert ask(machine, "--as-service")["device-cpu"]["state"] == "pass"


def test_an_ordinary_user_is_told_what_is_closed_to_him(machine: Machine) -> None:
    found = ask(machine, user=USER)
    assert found["receipt"]["state"] == "warn", found["receipt"]
    assert "closed to this user" in str(found["receipt"]["evidence"])
    assert not [one for one in found.values() if "broke" in str(one["evidence"])]
    done = machine.run("local-opus", "doctor", "--fix", "--yes", user=USER)
    assert done.code in {0, 2}, done


KILLED_WITHOUT_CONFIGS = (
    f"systemctl kill --signal=SIGKILL {UNIT}; systemctl stop {UNIT}; cd /etc/local-opus; "
    "rm model.json generation.json openvino.json server.json monitor.json"
)


@pytest.mark.parametrize(
    "damage",
    [
        f"systemctl stop {UNIT}",
        f"systemctl disable --quiet {UNIT}",
        f"systemctl stop {UNIT}; rm /etc/systemd/system/{UNIT}; systemctl daemon-reload",
        f"systemctl stop {UNIT}; rm /etc/systemd/system/{UNIT}; systemctl mask --quiet {UNIT}",
        "chmod 644 /etc/local-opus/server.json /var/lib/local-opus/receipt.jsonl; chmod 755 /etc/local-opus",
        KILLED_WITHOUT_CONFIGS,
    ],
)  # fmt: skip
def test_what_is_broken_is_mended(node: Node, machine: Machine, damage: str) -> None:
    node.shell(damage)
    found = ask(machine, "--fix", "--yes")
    for id_ in ("unit", "server", "drift", "secrets", "config"):
        state = found[id_]["state"]
        # A server that was killed has been started again, which is told.
        assert state == "pass" or (id_ == "unit" and "started again" in str(found[id_])), found[id_]
    node.assert_settled()


def test_the_way_back_leaves_nothing(node: Node, machine: Machine, before: Tree) -> None:
    assert node.call(*UNINSTALL).code == 0
    assert difference(before, snapshot(machine), LEFT_OUT) == []

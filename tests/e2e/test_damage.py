"""Ten kinds of damage to an installed node, each repaired by running the same command again.

One machine; the tests are steps in this order, and each starts from a node that is whole: after
every repair the tree is what it was before the damage, and no weights were fetched that were there.
"""

from __future__ import annotations

import json

import pytest
from machine import Machine
from nodes import INSTALL, LEFT_OUT, MODELS, RUNNING, UNINSTALL, UNIT, Node
from runs import wait_gone
from tree import Tree, difference, snapshot

pytestmark = pytest.mark.timeout(600)

CONFIG = "/etc/local-opus"
RECEIPT = "/var/lib/local-opus/receipt.jsonl"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
#: What a repair changes beside the damage, and why.
REPAIRED = {
    **LEFT_OUT,
    **RUNNING,
    f"{MODELS}/*/weights.stat.json": "times of files that were made anew",
    f"{CONFIG}/baseline.json": "measured again",
    f"{CONFIG}/machine.json": "the time at which it was written",
    "/opt/local-opus/env-*.pyc": "byte code names the time of its source, which was made anew",
}


@pytest.fixture(scope="module")
def whole() -> Tree:
    """The machine after the install; filled by that step."""
    return {}


def broken(node: Node) -> None:
    """The service, started anew, does not come up."""
    node.machine.run("systemctl", "stop", UNIT)
    start = node.machine.run("local-opus", "start")
    assert start.code != 0, start
    assert node.machine.run("local-opus", "status").code == 3


def repaired(node: Node, whole: Tree, *actions: str, weights: dict[str, tuple[int, ...]]) -> None:
    """The same command puts it right: with these actions alone, and all is as it was."""
    did = [step.partition(":")[0] if step.startswith("environment") else step
           for step in node.repair()]  # fmt: skip
    assert sorted(did) == sorted(actions)
    node.assert_settled()
    assert difference(whole, snapshot(node.machine), REPAIRED) == []
    assert node.weights() == weights


def test_a_node_is_installed(node: Node, machine: Machine, before: Tree, whole: Tree) -> None:
    before |= snapshot(machine)
    done = node.install()
    assert done.code == 0, done
    node.assert_settled()
    whole |= snapshot(machine)


def test_a_deleted_unit(node: Node, whole: Tree) -> None:
    weights = node.weights()
    node.shell(f"systemctl stop {UNIT}; rm {UNIT_FILE}; systemctl daemon-reload")
    broken(node)
    repaired(node, whole, "unit:local-opus.service", "server", weights=weights)


def test_a_masked_unit(node: Node, whole: Tree) -> None:
    weights = node.weights()
    node.shell(f"systemctl stop {UNIT}; ln -sf /dev/null {UNIT_FILE}; systemctl daemon-reload")
    assert node.properties("LoadState") == {"LoadState": "masked"}
    broken(node)
    repaired(node, whole, "unit:local-opus.service", "server", weights=weights)


def test_an_edited_config_is_kept_and_named(node: Node, whole: Tree) -> None:
    path = f"{CONFIG}/generation.json"
    node.shell(f"""sed -i 's/"max_tokens": .*/"max_tokens": 48/' {path}; grep -q 48 {path}""")
    again = node.install()
    assert again.code == 0, again
    assert f"{path}: edited since it was written" in again.out
    node.shell(f"systemctl restart {UNIT}")
    node.wait_ready()
    node.assert_answers()
    assert difference(whole, snapshot(node.machine), REPAIRED) != []


def test_a_config_edited_to_nonsense_is_named_with_its_field(node: Node, whole: Tree) -> None:
    weights = node.weights()
    path = f"{CONFIG}/server.json"
    node.shell(f"""sed -i 's/"port": 8000/"port": "many"/' {path}; grep -q many {path}""")
    node.machine.run("systemctl", "stop", UNIT)
    start = node.machine.run("local-opus", "start")
    assert start.code == 0, start  # with the settings that it served last
    assert f"{path}: port: " in start.out, start
    done = node.call(*INSTALL)
    assert done.code == 2, done
    assert f"{path}: port: " in done.err
    # What the error advises, for both files that were edited.
    node.shell(f"systemctl stop {UNIT}; rm {path} {CONFIG}/generation.json")
    repaired(node, whole, "config:server", "config:generation", "server", weights=weights)


def test_a_removed_environment(node: Node, whole: Tree) -> None:
    weights = node.weights()
    node.shell("rm -r /opt/local-opus/env-*")
    assert node.machine.run("local-opus", "--version").code != 0
    node.shell(f"systemctl restart {UNIT} && exit 1 || true")
    repaired(node, whole, "environment", "server", weights=weights)


def test_a_missing_file_of_the_variant_is_made_again_from_what_was_fetched(
    node: Node, whole: Tree
) -> None:
    weights = node.weights()
    node.shell(f"rm {MODELS}/cpu-q4_1/openvino_model.bin")
    broken(node)
    assert node.repair() == ["variant", "server"]
    node.assert_settled()
    assert difference(whole, snapshot(node.machine), REPAIRED) == []
    after = node.weights()
    fetched = {path for path in weights if "/gguf-" in path}
    assert fetched
    assert {path: after[path] for path in fetched} == {path: weights[path] for path in fetched}


def test_a_missing_file_that_was_fetched_is_fetched_again(node: Node, whole: Tree) -> None:
    node.shell(f"rm {MODELS}/gguf-*/*.gguf")
    assert node.machine.run("local-opus", "verify").code == 3
    assert node.repair() == ["weights"]
    node.assert_settled()
    assert difference(whole, snapshot(node.machine), REPAIRED) == []


def test_wrong_modes_and_owners(node: Node, whole: Tree) -> None:
    weights = node.weights()
    node.shell(
        f"chmod 777 {CONFIG}; chmod 666 {CONFIG}/server.json {UNIT_FILE}; "
        f"chgrp root {CONFIG}/model.json; chmod 755 {CONFIG}/model.json; "
        "chmod 644 /opt/local-opus/bin/local-opus; chmod 700 /opt/local-opus/bin"
    )
    assert node.machine.run("local-opus", "--version").code != 0
    repaired(
        node, whole, "folder:config", "config:server", "config:model", "unit:local-opus.service", "command",
        "folder:bin", weights=weights,
    )  # fmt: skip


def test_modes_that_lock_the_service_out_of_weights_and_program(node: Node, whole: Tree) -> None:
    node.shell(f"chmod 700 {MODELS} /opt/local-opus; chmod 600 {MODELS}/cpu-q4_1/*.bin")
    broken(node)
    assert node.repair() == ["folder:prefix", "weights", "variant", "server"]
    node.assert_settled()
    assert difference(whole, snapshot(node.machine), REPAIRED) == []


def test_a_stale_pid_and_a_stale_lock(node: Node, whole: Tree) -> None:
    # The PID file of a server without systemd, from before a crash; its number is another's now.
    weights = node.weights()
    node.shell(
        f"systemctl stop {UNIT}; mkdir -p /run/local-opus; "
        """echo '{"pid": 1, "started": "7"}' >/run/local-opus/server.pid; """
        "echo 1 >/var/lib/local-opus/lock; chmod 600 /var/lib/local-opus/lock"
    )
    assert node.machine.run("local-opus", "status").code == 3
    repaired(node, whole, "server", weights=weights)
    node.shell("rm -r /run/local-opus")


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        # Seen before anything is begun; met at the first byte; met by pip, in the middle.
        (f"rm -r {MODELS}/cpu-q4_1", 0),
        ("rm -r /opt/local-opus/env-*", 0),
        ("rm -r /opt/local-opus/env-*", 200_000_000),
    ],
    ids=("weights", "environment", "packages"),
)
def test_a_full_disk_that_was_freed_again(node: Node, whole: Tree, damage: str, left: int) -> None:
    node.shell(f"systemctl stop {UNIT}; {damage}")
    damaged = snapshot(node.machine)
    node.shell(
        "free=$(df --output=avail -B1 / | tail -1); "
        f"fallocate -l $((free - 50000000 - {left})) /var/tmp/filler; "
        f"[ {left} != 0 ] || cat /dev/zero >>/var/tmp/filler 2>/dev/null || true"
    )
    full = node.install()
    node.shell("rm /var/tmp/filler")
    assert full.code == 4, full
    assert "free" in full.err.lower(), full
    assert difference(damaged, snapshot(node.machine), REPAIRED) == []
    node.repair()
    node.assert_settled()
    assert difference(whole, snapshot(node.machine), REPAIRED) == []


def test_a_half_written_receipt(node: Node, whole: Tree) -> None:
    weights = node.weights()
    node.shell(f"""printf '{{"v":1,"n":999,"at":"2026-' >>{RECEIPT}""")
    shown = node.machine.run("local-opus", "receipt")
    assert shown.code == 0, shown
    node.shell(f"rm {CONFIG}/openvino.json")
    repaired(node, whole, "config:openvino", weights=weights)
    lines = node.shell(f"cat {RECEIPT}").out.splitlines()
    assert all(json.loads(line) for line in lines)


def test_a_removed_group_whose_number_another_took(node: Node, whole: Tree) -> None:
    weights = node.weights()
    node.shell(f"systemctl stop {UNIT}; groupdel local-opus; groupadd --system other")
    broken(node)
    did = node.repair()
    assert {"group", "server"} <= set(did), did
    assert set(did) <= {"group", "server", "folder:config", "posture", "machine", "baseline"} | {
        f"config:{name}" for name in ("model", "generation", "openvino", "server", "monitor")
    }
    node.assert_settled()
    owners = node.shell(f"stat --format=%U:%G:%a {CONFIG} {CONFIG}/*").out.split()
    assert len(owners) > 4
    assert owners == ["root:local-opus:750"] + ["root:local-opus:640"] * (len(owners) - 1)
    assert node.weights() == weights
    # With the intruder gone the same once more: all is as it was after the install.
    node.shell(f"systemctl stop {UNIT}; groupdel local-opus; groupdel other")
    node.repair()
    node.assert_settled()
    assert difference(whole, snapshot(node.machine), REPAIRED) == []


def test_it_serves_again_after_a_reboot(node: Node, machine: Machine) -> None:
    assert machine.reboot() == "running"
    node.assert_settled()


def test_uninstall_leaves_the_machine_as_it_was(node: Node, machine: Machine, before: Tree) -> None:
    done = machine.run("local-opus", *UNINSTALL[1:])
    assert done.code == 0, done
    assert difference(before, snapshot(machine), LEFT_OUT) == []
    wait_gone(machine)
    assert machine.run("systemctl", "is-system-running").out.strip() == "running"

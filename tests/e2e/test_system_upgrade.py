"""Upgrades from newer checkouts while the old server serves: taken back, done, killed, gone on.

One machine; the tests are steps in this order. A newer checkout is a copy with another version and
another unit; a broken one has a server that ends as soon as it starts.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from lab import INSIDE
from machine import Machine
from nodes import LEFT_OUT, RUNNING, UNINSTALL, UNIT, Node
from runs import Point, wait_gone
from tree import Tree, difference, snapshot

pytestmark = pytest.mark.timeout(600)

UPGRADE = ("./installer", "upgrade", "--yes")
BROKEN, NEWER, NEWEST = "/srv/broken", "/srv/newer", "/srv/newest"
VERSIONS = {BROKEN: "97.0.0", NEWER: "98.0.0", NEWEST: "99.0.0"}
#: The units of a node: none of a trial, and none of an older version.
NODES = {
    UNIT, "local-opus.target", "local-opus.socket", "local-opus-failed.target",
    "local-opus-tune.service", "local-opus-monitor.service", "local-opus-monitor.timer",
    "local-opus-recover.service",
}  # fmt: skip
#: Killed at each of these in turn, an upgrade goes on from there.
KILLS = (
    Point("environment", "progress", 2, within="install packages"),
    Point("trial", "progress"),
    Point("trial", "finished"),
    Point("unit:local-opus.service", "finished"),
)
#: Seconds without an answer while the new server takes over. Measured 9 on two busy cores.
OUTAGE = 30.0
_POLL = """
import json, time, urllib.request
question = json.dumps({"model": "%s", "max_tokens": 1, "messages": [{"role": "user", "content": "Hi"}]})
while True:
    asked = time.time()
    request = urllib.request.Request(
        "http://127.0.0.1:8000/v1/chat/completions", question.encode(),
        {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            ok = bool(json.load(answer)["choices"])
    except OSError:
        ok = False
    with open("/run/poll.jsonl", "a") as stream:
        print(json.dumps([asked, time.time(), ok]), file=stream)
    time.sleep(0.1)
"""


@dataclass(frozen=True)
class Asked:
    """One question: when it was sent and answered (seconds since 1970), and whether well."""

    begin: float
    end: float
    answered: bool


@contextmanager
def polled(node: Node, model: str) -> Iterator[list[Asked]]:
    """Ask the server all the time; the list is filled at the end."""
    found: list[Asked] = []
    start = node.machine.run(
        "systemd-run", "--quiet", "--collect", "--unit=e2e-run-poll",
        "python3", "-I", "-c", _POLL % model,
    )  # fmt: skip
    assert start.code == 0, start
    try:
        yield found
    finally:
        node.shell("systemctl stop e2e-run-poll")
    lines = node.shell("cat /run/poll.jsonl; rm /run/poll.jsonl").out.splitlines()
    found += [Asked(*json.loads(line)) for line in lines]


def upgrade(node: Node, checkout: str) -> None:
    """Upgrade from a checkout, to a good end."""
    done = node.call(*UPGRADE, folder=checkout)
    assert done.code == 0, done


def assert_runs(node: Node, checkout: str) -> None:
    """The version of ``checkout`` serves and answers; nothing of a trial or another is left."""
    node.wait_ready()
    node.assert_answers()
    version = VERSIONS[checkout]
    assert version in node.shell("local-opus --version").out
    assert node.properties("Description") == {"Description": f"Local Opus server {version}"}
    assert len(node.shell("ls -d /opt/local-opus/env-*").out.split()) == 1
    left = node.machine.run(
        "find", "/etc", "/opt", "/run", "/var", "-iname", "*trial*", "-path", "*opus*"
    )
    assert left.out == ""
    units = node.shell("systemctl list-units --all --plain --no-legend 'local-opus*'").out
    assert {line.split()[0] for line in units.splitlines()} <= NODES
    wanted = ("local-opus.target", "local-opus.socket", UNIT)
    assert node.shell(f"systemctl is-active {' '.join(wanted)}").out.split() == ["active"] * 3
    again = node.call(*UPGRADE, folder=checkout)
    assert (again.code, "no changes" in again.out) == (0, True), again


@pytest.fixture(scope="module")
def old() -> Tree:
    """The machine with the old version; filled by that step."""
    return {}


def test_the_old_version_is_installed(
    node: Node, machine: Machine, before: Tree, old: Tree
) -> None:
    before |= snapshot(machine)
    done = node.install()
    assert done.code == 0, done
    node.assert_settled()
    for folder, version in VERSIONS.items():
        node.shell(
            f"mkdir {folder}; cd {INSIDE}; tar c --exclude ./.env . | tar x -C {folder}; cd {folder}; "
            f"""sed -i 's/^__version__ = .*/__version__ = "{version}"/' src/local_opus/__init__.py; """
            f"sed -i 's/^Description=.*/Description=Local Opus server {version}/' systemd/{UNIT}.j2"
        )
    node.shell(
        f"cd {BROKEN}; sed -i 's/^    host = Host()$/    return 1/' src/local_opus/serve.py; "
        "grep -q '^    return 1$' src/local_opus/serve.py"
    )
    old |= snapshot(machine)


def test_a_newer_version_that_does_not_serve_is_taken_back(
    node: Node, machine: Machine, old: Tree
) -> None:
    weights, serving = node.weights(), node.properties("MainPID", "NRestarts")
    run = node.start(*UPGRADE, folder=BROKEN)
    code, said = run.end()
    assert code == 1, said
    assert "did not start" in said
    assert "trial" in run.started()
    assert not {"unit:local-opus.service", "server"} & set(run.started()), (
        "it was not stopped by the trial"
    )
    assert node.properties("MainPID", "NRestarts") == serving, "the old server was touched"
    node.assert_settled()
    own = {f"{folder}/*": "the checkouts' own environments" for folder in VERSIONS}
    assert difference(old, snapshot(machine), {**LEFT_OUT, **RUNNING, **own}) == []
    assert node.weights() == weights
    assert machine.run("systemctl", "is-system-running").out.strip() == "running"


def test_the_old_server_serves_until_the_new_one_takes_over(
    node: Node, measured: Callable[[str], None]
) -> None:
    weights, pid = node.weights(), node.properties("MainPID")
    times: dict[tuple[str, str], float] = {}
    with polled(node, str(node.wait_ready()["model"])) as asked:
        run = node.start(*UPGRADE, folder=NEWER)
        for event in run:
            times.setdefault((str(event["event"]), str(event.get("step"))), time.time())
        code, said = run.end()
        assert code == 0, (said, run.events[-3:])
        time.sleep(0.5)
    trial = times["started", "trial"], times["finished", "trial"]
    during = [one for one in asked if trial[0] <= one.begin and one.end <= trial[1]]
    assert len(during) >= 3
    assert [one for one in asked if one.end <= trial[1] and not one.answered] == []
    good = [one.end for one in asked if one.answered]
    outage = max(later - earlier for earlier, later in itertools.pairwise(good))
    measured(
        f"upgrade: {len(during)} of {len(during)} answered during a trial of "
        f"{trial[1] - trial[0]:.1f} s; longest wait for an answer while it switched: {outage:.1f} s"
    )
    assert outage < OUTAGE
    assert asked[-1].answered
    assert node.properties("MainPID") != pid
    assert_runs(node, NEWER)
    assert node.weights() == weights, "weights were touched"


def test_an_older_checkout_is_refused(node: Node) -> None:
    done = node.call(*UPGRADE)
    assert done.code == 2, done
    assert VERSIONS[NEWER] in done.err
    assert_runs(node, NEWER)


def test_a_killed_upgrade_goes_on(node: Node, machine: Machine) -> None:
    weights = node.weights()
    for point in KILLS:
        run = node.start(*UPGRADE, folder=NEWEST)
        assert run.reaches(point), f"{point}: {run.end()} {run.events[-3:]}"
        run.kill()
        node.wait_ready()
        node.assert_answers()
    # The last one is a power loss: the unit is the new one, and which server runs is open.
    run = node.start(*UPGRADE, folder=NEWEST)
    assert run.reaches(Point("server", "started")), f"{run.end()} {run.events[-3:]}"
    machine.power_off_hard()
    run.end()
    assert machine.boot() == "running"
    upgrade(node, NEWEST)
    assert_runs(node, NEWEST)
    assert node.weights() == weights


def test_it_serves_again_after_a_reboot(node: Node, machine: Machine) -> None:
    assert machine.reboot() == "running"
    assert_runs(node, NEWEST)


def test_the_new_program_uninstalls_without_its_checkout(
    node: Node, machine: Machine, before: Tree
) -> None:
    node.shell(f"rm -r {' '.join(VERSIONS)}")
    done = machine.run("local-opus", *UNINSTALL[1:])
    assert done.code == 0, done
    assert difference(before, snapshot(machine), LEFT_OUT) == []
    wait_gone(machine)
    assert machine.run("systemctl", "is-system-running").out.strip() == "running"

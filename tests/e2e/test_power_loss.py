"""Real kills and real power losses, each taken up by the same command or by an uninstall.

One machine; the tests are steps in this order. ``kill -9`` hits the program alone, at a line of its
own report; a power loss hits the whole machine, and loses what was not on its disk.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from machine import Machine
from nodes import INSTALL, LEFT_OUT, UNINSTALL, Node
from runs import Point, Run, wait_gone
from tree import Tree, difference, snapshot

pytestmark = pytest.mark.timeout(600)

#: Killed here, an install is taken back.
TAKEN_BACK = (
    Point("environment", "progress", 3, within="install packages"),
    Point("variant", "progress"),
    Point("server", "progress"),
)
#: Killed at each of these in turn, an install goes on from there.
GOES_ON = (
    Point("environment", "progress", within="load the libraries"),
    Point("weights", "progress", 3),
    Point("variant", "progress", 2),
    Point("config:server", "started"),
    Point("unit:local-opus.service", "finished"),
    Point("server", "started"),
    Point("self-test", "progress", within="canary"),
)
#: Killed at each of these in turn, an uninstall goes on from there.
UNINSTALL_GOES_ON = (
    Point("server", "started"),
    Point("unit:local-opus.service", "finished"),
    Point("environment", "started"),
    Point("folder:models", "started"),
)


@pytest.fixture(scope="module")
def finished() -> list[str]:
    """The actions that installs have brought to their end since the machine was bare."""
    return []


def kill(node: Node, machine: Machine, point: Point, *command: str) -> Run:
    """Run a command until ``point``, and kill it there; what it had started must end too."""
    run = node.start(*command)
    assert run.reaches(point), f"{run.end()} {run.events[-3:]}"
    run.kill()
    return run


def cut(node: Node, machine: Machine, point: Point, *command: str) -> Run:
    """Run a command until ``point``, take the machine's power there, and boot again."""
    run = node.start(*command)
    assert run.reaches(point), f"{run.end()} {run.events[-3:]}"
    machine.power_off_hard()
    run.end()
    assert machine.boot() == "running"
    return run


def uninstall(node: Node, machine: Machine, before: Tree) -> None:
    """Uninstall; the machine is as it was."""
    done = node.call(*UNINSTALL)
    assert done.code == 0, done
    assert difference(before, snapshot(machine), LEFT_OUT) == []
    wait_gone(machine)
    assert machine.run("systemctl", "is-system-running").out.strip() == "running"


def test_power_lost_when_the_checkout_has_just_set_itself_up(
    node: Node, machine: Machine, before: Tree
) -> None:
    before |= snapshot(machine)
    cut(node, machine, Point("", "facts"), *INSTALL)
    assert difference(before, snapshot(machine), LEFT_OUT) == []
    shown = node.call(*INSTALL, "--dry-run")
    assert shown.code == 0, shown


@pytest.mark.parametrize("point", TAKEN_BACK, ids=str)
def test_a_killed_install_is_taken_back(
    node: Node, machine: Machine, before: Tree, point: Point
) -> None:
    kill(node, machine, point, *INSTALL)
    uninstall(node, machine, before)


@pytest.mark.parametrize("point", GOES_ON, ids=str)
def test_a_killed_install_goes_on(
    node: Node, machine: Machine, finished: list[str], point: Point
) -> None:
    run = kill(node, machine, point, *INSTALL)
    again = set(finished) & set(run.started())
    assert not again, f"done once more: {again}"
    finished += run.finished()


def test_the_install_comes_to_its_end(
    node: Node, machine: Machine, finished: list[str], measured: Callable[[str], None]
) -> None:
    did = node.repair()
    assert set(did) <= {"server"}, did
    assert finished.count("weights") == finished.count("variant") == 1
    node.assert_settled()
    measured(f"install: went on after {len(GOES_ON)} kills, weights fetched once")


@pytest.mark.parametrize("point", UNINSTALL_GOES_ON[:2], ids=str)
def test_a_killed_uninstall_is_installed_again(node: Node, machine: Machine, point: Point) -> None:
    weights = node.weights()
    kill(node, machine, point, *UNINSTALL)
    node.repair()
    node.assert_settled()
    assert node.weights() == weights


def test_a_killed_uninstall_goes_on(node: Node, machine: Machine, before: Tree) -> None:
    for point in UNINSTALL_GOES_ON:
        kill(node, machine, point, *UNINSTALL)
    uninstall(node, machine, before)


def test_power_lost_between_two_actions_of_an_install(node: Node, machine: Machine) -> None:
    run = cut(node, machine, Point("config:server", "finished"), *INSTALL)
    done = set(run.finished())
    assert {"group", "weights", "variant"} <= done
    again = set(node.repair()) & done
    assert not again, f"done once more: {again}"
    node.assert_settled()


def test_power_lost_right_after_an_install(node: Node, machine: Machine) -> None:
    # The service is enabled: nobody has to do anything.
    node.shell("rm /etc/local-opus/generation.json")
    assert set(node.repair()) == {"config:generation"}
    machine.power_off_hard()
    assert machine.boot() == "running"
    node.assert_settled()


def test_power_lost_between_two_actions_of_an_uninstall(
    node: Node, machine: Machine, before: Tree
) -> None:
    run = cut(node, machine, Point("config:server", "finished"), *UNINSTALL)
    assert {"server", "unit:local-opus.service"} <= set(run.finished("taken back"))
    uninstall(node, machine, before)


def test_power_lost_while_weights_are_converted(node: Node, machine: Machine, before: Tree) -> None:
    cut(node, machine, Point("variant", "progress", 2), *INSTALL)
    node.repair()
    node.assert_settled()
    uninstall(node, machine, before)

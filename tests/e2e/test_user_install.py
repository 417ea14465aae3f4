"""The same as an ordinary user: everything in the home folder, under the user's own systemd."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping

import pytest
from lab import INSIDE, MODEL
from machine import Done, Machine
from tree import MACHINES_OWN, Tree, difference, tree

pytestmark = pytest.mark.timeout(600)

USER = "ann"
HOME = f"/home/{USER}"
UNIT = "local-opus.service"
LEFT_OUT = {
    **MACHINES_OWN,
    f"{HOME}/.cache": "the program's own environment for a checkout that the user can't write",
    f"{HOME}/.cache/local-opus*": "the same",
}

As = Callable[..., Done]


@pytest.fixture(scope="module")
def ann(machine: Machine, pip: Mapping[str, str]) -> As:
    """Runs a command as the user, with what a login gives."""
    made = machine.run("useradd", "--create-home", USER)
    assert made.code == 0, made
    # Without it a user's services end with the last login, and do not start with the machine.
    linger = machine.run("loginctl", "enable-linger", USER)
    assert linger.code == 0, linger
    number = machine.run("id", "--user", USER).out.strip()
    environ = {
        **pip,
        "XDG_RUNTIME_DIR": f"/run/user/{number}",
        "PATH": f"{HOME}/.local/bin:/usr/local/bin:/usr/bin:/bin",
    }

    def run(*command: str, timeout: int = 60) -> Done:
        return machine.run(*command, user=USER, environ=environ, folder=INSIDE, timeout=timeout)

    return run


def install(ann: As) -> Done:
    return ann("./installer", "--local-opus", "--model", MODEL, "--yes", timeout=480)


def assert_answers(ann: As) -> None:
    done = ann("local-opus", "chat", "What is the capital of France?", "--temperature", "0")
    assert done.code == 0, done
    assert "Paris" in done.out


def wait_for_systemd(ann: As) -> None:
    """Wait until the user's own systemd, which lingering starts, has done all that it should."""
    deadline = time.monotonic() + 30
    while (done := ann("systemctl", "--user", "is-system-running", "--wait")).code != 0:
        assert time.monotonic() < deadline, done
        time.sleep(0.2)


def test_the_user_has_a_systemd_of_their_own(ann: As, machine: Machine, before: Tree) -> None:
    wait_for_systemd(ann)
    before |= tree(machine)


def test_one_command_installs(ann: As) -> None:
    done = install(ann)
    assert done.code == 0, done
    status = json.loads(ann("local-opus", "status", "--json").out)
    assert (status["scope"], status["how"], status["ready"]) == ("user", "systemd", True)
    assert ann("systemctl", "--user", "is-enabled", UNIT).out == "enabled\n"
    assert_answers(ann)


def test_systemd_finds_nothing_wrong_with_the_unit(ann: As) -> None:
    unit = f"{HOME}/.config/systemd/user/{UNIT}"
    done = ann("systemd-analyze", "--user", "verify", "--man=no", unit)
    assert (done.code, done.out, done.err) == (0, "", ""), done


def test_the_same_command_again_changes_nothing(ann: As) -> None:
    done = install(ann)
    assert done.code == 0, done
    assert "no changes" in done.out


def test_it_serves_again_after_a_reboot(ann: As, machine: Machine) -> None:
    assert machine.reboot() == "running"
    wait_for_systemd(ann)
    assert_answers(ann)


def test_uninstall_leaves_the_machine_as_it_was(ann: As, machine: Machine, before: Tree) -> None:
    done = ann("local-opus", "uninstall", "--purge", "--yes")
    assert done.code == 0, done
    assert difference(before, tree(machine), LEFT_OUT) == []
    failed = ann("systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", UNIT)
    assert failed.out == ""

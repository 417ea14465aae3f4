"""The same as an ordinary user: everything in the home folder, under the user's own systemd."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from lab import INSIDE, MODEL
from machine import Done, Machine
from runs import wait_for_systemd
from tree import MACHINES_OWN, Tree, difference, tree

pytestmark = pytest.mark.timeout(600)

USER = "ann"
HOME = f"/home/{USER}"
UNIT = "local-opus.service"
UNITS = (UNIT, "local-opus-monitor.service", "local-opus-recover.service")
#: Where systemd-logind keeps that the user lingers.
LINGER = f"/var/lib/systemd/linger/{USER}"
LEFT_OUT = {
    **MACHINES_OWN,
    f"{HOME}/.cache": "the program's own environment for a checkout that the user can't write",
    f"{HOME}/.cache/local-opus*": "the same",
    "/var/log/lastlog": "each command is a login of its own",
}

As = Callable[..., Done]


@pytest.fixture(scope="module")
def ann(machine: Machine, pip: Mapping[str, str]) -> As:
    """Runs a command as the user, with what a login gives."""
    made = machine.run("useradd", "--create-home", USER)
    assert made.code == 0, made
    number = machine.run("id", "--user", USER).out.strip()
    environ = {
        **pip,
        "XDG_RUNTIME_DIR": f"/run/user/{number}",
        "PATH": f"{HOME}/.local/bin:/usr/local/bin:/usr/bin:/bin",
    }

    def run(*command: str, timeout: int = 60) -> Done:
        return machine.run(
            *command, user=USER, environ=environ, folder=INSIDE, timeout=timeout, login=True
        )

    return run


def status_of(ann: As) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ann("local-opus", "status", "--json").out)
    return found


def install(ann: As) -> Done:
    return ann("./installer", "--local-opus", "--model", MODEL, "--yes", timeout=480)


def assert_answers(ann: As) -> None:
    done = ann("local-opus", "chat", "What is the capital of France?", "--temperature", "0")
    assert done.code == 0, done
    assert "Paris" in done.out


def test_the_user_has_a_systemd_of_their_own(ann: As, machine: Machine, before: Tree) -> None:
    wait_for_systemd(ann)
    before |= tree(machine)


def test_one_command_installs(ann: As) -> None:
    done = install(ann)
    assert done.code == 0, done
    status = status_of(ann)
    assert (status["scope"], status["how"], status["ready"]) == ("user", "systemd", True)
    assert ann("systemctl", "--user", "is-enabled", UNIT).out == "enabled\n"
    assert_answers(ann)


def test_it_lingers(ann: As, machine: Machine) -> None:
    """Without it a user's services end with the last login, and do not start with the machine."""
    assert machine.run("test", "-e", LINGER).code == 0
    assert status_of(ann)["lingering"].startswith("on: ")


def test_each_unit_is_as_tight_as_the_users_systemd_makes_it(
    ann: As, measured: Callable[[str], None]
) -> None:
    done = ann("python3", f"{INSIDE}/bench/exposure.py", "--scope", "user")
    for line in done.out.partition("\n\n")[0].splitlines():
        measured(line)
    assert done.code == 0, done
    assert all(f"\n{unit} " in done.out for unit in UNITS), done


def test_status_names_what_the_users_systemd_does_not_enforce(ann: As) -> None:
    status = status_of(ann)
    assert {"IPAddressDeny", "DevicePolicy", "DynamicUser"} <= set(status["not_enforced"])
    assert not {"PrivateUsers", "ProtectSystem", "ProtectHome"} & set(status["not_enforced"])
    assert status["sandbox"]["holds"] is True, status["sandbox"]


def test_the_server_sees_nothing_of_the_home_but_what_it_runs_from(
    ann: As, machine: Machine
) -> None:
    pid = ann("systemctl", "--user", "show", "--property=MainPID", "--value", UNIT).out.strip()
    seen = machine.run("ls", "-A", f"/proc/{pid}/root{HOME}")
    assert set(seen.out.split()) <= {".local", ".config", ".cache"}, seen


def test_the_posture_is_applied_and_its_drift_is_named(ann: As) -> None:
    parts = {part["id"]: part for part in status_of(ann)["posture"]["parts"]}
    states = {name: part["state"] for name, part in parts.items()}
    assert states["variables"] == states["processes"] == states["loopback"] == "applied"
    assert f"{UNIT} has no network" in parts["egress"]["evidence"]  # the monitor asks it over one
    file = f"{HOME}/.config/local-opus/posture.env"
    assert ann("sed", "-i", "s/HF_HUB_OFFLINE=1/HF_HUB_OFFLINE=0/", file).code == 0
    checks = json.loads(ann("local-opus", "doctor", "--json").out)["results"]
    (found,) = (check for check in checks if check["id"] == "posture")
    assert found["state"] == "fail"
    assert "HF_HUB_OFFLINE is 0" in found["evidence"]
    assert ann("sed", "-i", "s/HF_HUB_OFFLINE=0/HF_HUB_OFFLINE=1/", file).code == 0


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
    assert machine.run("test", "-e", LINGER).code == 1


def test_a_refusal_of_the_real_polkit_fails_nothing(ann: As, machine: Machine) -> None:
    assert machine.run("systemctl", "mask", "--now", "polkit.service").code == 0
    code = (
        "from local_opus.actions.enable_linger import EnableLinger; from local_opus.host import Host;"
        f"one = EnableLinger(user='{USER}'); host = Host();"
        "after = one.execute(host, one.capture(host), print); print(one.edited(host, after))"
    )
    script = f'PYTHONPATH=src exec {HOME}/.cache/local-opus/env/*/*/bin/python -c "{code}"'
    done = ann("sh", "-c", script)
    assert done.code == 0, done
    assert f"sudo loginctl enable-linger {USER}" in done.out

"""What the user's systemd enforces: measured by units that start or don't, never by a version."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import user_units
from local_opus.errors import WorkerError
from local_opus.facts import user_manager
from local_opus.history import History
from local_opus.host import Completed
from local_opus.planner.user_sandbox import UserSandbox, user_sandbox
from local_opus.runtime import enforced
from local_opus.values import Scope
from local_opus.values.user_manager import FILTERS, PRIVILEGED, SYSTEM_ONLY, UserManager

VERSION = "252.39-1~deb12u2"
EVERYTHING = (*FILTERS, *PRIVILEGED)
#: What systemd 252 was seen to ignore in a unit of a user with a user namespace (measured).
IGNORED = ("ProtectProc", "IPAddressDeny", "DevicePolicy", "TasksMax")


def names_in(command: Sequence[str]) -> set[str]:
    given = [word.removeprefix("--property=") for word in command if word.startswith("--property=")]
    return {one.partition("=")[0] for one in given} & set(EVERYTHING)


def systemd(
    starts: Callable[[set[str]], bool], ignores: Collection[str] = (), *, notify: bool = True
) -> Callable[[Sequence[str]], Completed]:
    """A systemd that starts a unit or does not, and ignores some directives."""

    def run(command: Sequence[str]) -> Completed:
        wanted = names_in(command)
        if not starts(wanted):
            return Completed(226, "", "Failed at step NAMESPACE\n")
        took = {name: name in wanted and name not in ignores for name in EVERYTHING}
        return Completed(0, json.dumps({**took, "notify": notify}), "")

    return run


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    made = FakeHost(tmp_path, {"HOME": "/home/ann", "XDG_RUNTIME_DIR": "/run/user/1000"})
    for folder in ("/proc/self/ns", "/home/ann", "/tmp", "/dev"):
        made.files.make_folders(folder)
    for kind in ("mnt", "net", "user", "uts", "ipc"):
        made.files.symlink(f"{kind}:[1]", f"/proc/self/ns/{kind}")
    made.processes.answers["systemctl"] = Completed(0, f"{VERSION}\n", "")
    return made


def measured(host: FakeHost, run: Callable[[Sequence[str]], Completed]) -> UserManager:
    host.processes.answers["systemd-run"] = run
    found = user_units.measure(host)
    assert found is not None
    return found


def tries(host: FakeHost) -> int:
    return sum(call[0] == "systemd-run" for call in host.processes.calls)


def test_one_unit_tells_all_where_all_of_it_starts(host: FakeHost) -> None:
    found = measured(host, systemd(lambda _: True, IGNORED))
    assert tries(host) == 1
    assert found.version == VERSION
    assert found.not_enforced == (*IGNORED, *SYSTEM_ONLY)
    assert set(found.enforced) == set(EVERYTHING) - set(IGNORED)
    assert found.sandboxed


def test_a_container_without_the_kernels_log_costs_one_unit_more(host: FakeHost) -> None:
    found = measured(host, systemd(lambda wanted: "ProtectKernelLogs" not in wanted))
    assert tries(host) == 2
    assert "ProtectKernelLogs" not in found.enforced
    assert "ProtectSystem" in found.enforced


@pytest.mark.parametrize("culprit", sorted(set(PRIVILEGED) - {"PrivateUsers"}))
def test_what_keeps_a_unit_from_starting_is_left_out_alone(host: FakeHost, culprit: str) -> None:
    found = measured(host, systemd(lambda wanted: culprit not in wanted))
    assert set(EVERYTHING) - set(found.enforced) == {culprit}


def test_without_user_namespaces_the_filters_are_left(host: FakeHost) -> None:
    """AppArmor, a sysctl or a container forbids them: nothing that wants rights starts (217, 226)."""
    found = measured(host, systemd(lambda wanted: not wanted & set(PRIVILEGED)))
    assert found.enforced == tuple(FILTERS)
    assert found.not_enforced == (*PRIVILEGED, *SYSTEM_ONLY)


def test_mounts_that_are_ignored_without_user_namespaces_are_named(host: FakeHost) -> None:
    found = measured(host, systemd(lambda wanted: "PrivateUsers" not in wanted, set(PRIVILEGED)))
    assert found.enforced == tuple(FILTERS)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Completed(0, "no json", ""), "can't be read"),
        (Completed(0, "[]", ""), "can't be read"),
        (Completed(0, "{}", ""), "can't be read"),
        (Completed(1, "", "no bus"), "came to its end"),
    ],
)
def test_what_can_not_be_measured_is_enforced_by_nobody(
    host: FakeHost, answer: Completed, problem: str
) -> None:
    found = measured(host, lambda _: answer)
    assert problem in str(found.problem)
    assert (found.enforced, found.sandboxed) == ((), False)


def late(_: Sequence[str]) -> Completed:
    raise WorkerError("systemd-run ran over its time limit of 15 s and was ended", "")


def test_a_unit_that_hangs_is_given_up(host: FakeHost) -> None:
    assert "time limit" in str(measured(host, late).problem)


def test_a_busy_machine_keeps_the_units_that_it_has(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = UserManager(version=VERSION, enforced=EVERYTHING, sandboxed=True)
    monkeypatch.setattr(user_units, "_before", lambda *_: before)
    host.processes.answers["systemd-run"] = late
    places = locations(host)
    assert user_units.to_plan(host, places) == before
    host.processes.answers["systemctl"] = Completed(0, "257\n", "")
    assert user_units.to_plan(host, places) != before


def test_status_measures_again_once_the_version_is_another(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = UserManager(version=VERSION)
    monkeypatch.setattr(user_units, "_before", lambda *_: before)
    assert user_units.known(host, locations(host)) == before
    assert tries(host) == 0
    host.processes.answers["systemctl"] = Completed(0, "257\n", "")
    host.processes.answers["systemd-run"] = systemd(lambda _: True)
    found = user_units.known(host, locations(host))
    assert found is not None
    assert found.version == "257"


def test_no_systemd_of_a_user_is_no_manager(host: FakeHost) -> None:
    host.processes.answers["systemctl"] = Completed(1, "", "Failed to connect to bus\n")
    assert user_units.measure(host) is None


@pytest.mark.parametrize("said", [None, "", "no json", 7, '{"version": 1}'])
def test_a_receipt_of_another_program_says_nothing(said: object) -> None:
    assert user_units.recorded(History(run={user_units.FACT: said})) is None  # type: ignore[dict-item]


def test_what_was_measured_comes_back_from_the_receipt() -> None:
    found = UserManager(version=VERSION, enforced=EVERYTHING, sandboxed=True)
    run = {user_units.FACT: found.model_dump_json()}
    assert user_units.recorded(History(run=run)) == found  # type: ignore[arg-type]


def locations(host: FakeHost):  # type: ignore[no-untyped-def]
    from local_opus.locations import locate

    return locate(Scope.USER, host.environ)


# -- the sandbox of a unit -----------------------------------------------------------------------


class Wanted:
    """Of a plan's request, what the sandbox asks for."""

    def __init__(self, host: FakeHost, manager: UserManager | None, python: str) -> None:
        self.user_manager, self.locations = manager, locations(host)
        self.program = type("Program", (), {"python": type("Python", (), {"path": python})})


def sandbox(
    host: FakeHost, manager: UserManager | None, python: str = "/usr/bin/python3.11"
) -> UserSandbox:
    return user_sandbox(Wanted(host, manager, python))  # type: ignore[arg-type]


FULL = UserManager(version=VERSION, enforced=EVERYTHING, sandboxed=True)


def test_an_unknown_systemd_is_given_nothing_that_it_may_refuse(host: FakeHost) -> None:
    assert sandbox(host, None) == UserSandbox()
    assert sandbox(host, UserManager(version=VERSION)).settings == ()


def test_homes_are_hidden_but_what_the_units_run_from(host: FakeHost) -> None:
    found = sandbox(host, FULL)
    assert ("ProtectHome", "tmpfs") in found.settings
    share = "/home/ann/.local/share/local-opus"
    assert found.readable == (share, f"{share}/models", "/home/ann/.config/local-opus")


def test_a_python_of_the_home_is_shown_too(host: FakeHost) -> None:
    found = sandbox(host, FULL, "/home/ann/.pyenv/versions/3.12.1/bin/python3.12")
    assert found.readable[-1] == "/home/ann/.pyenv/versions/3.12.1"


@pytest.mark.parametrize("name", ["a:b", 'a"b', "a$b", "a\\b", "ü"])
def test_homes_stay_in_sight_where_a_directive_could_misread_a_path(
    host: FakeHost, name: str
) -> None:
    host.environ = {**host.environ, "XDG_DATA_HOME": f"/home/ann/{name}"}
    found = sandbox(host, FULL)
    assert ("ProtectHome", "read-only") in found.settings
    assert found.readable == ()


def test_homes_stay_in_sight_where_systemd_would_not_hear_of_readiness(host: FakeHost) -> None:
    found = sandbox(host, FULL.model_copy(update={"sandboxed": False}))
    assert ("ProtectHome", "read-only") in found.settings


def test_the_version_in_the_answer_is_one_line(host: FakeHost) -> None:
    host.processes.answers["systemctl"] = Completed(0, "252\x1b[31m\n\nx\n", "")
    assert user_manager.version(host) == "252 [31m x"


@pytest.mark.parametrize(
    ("number", "closed"), [(errno.EPERM, True), (errno.EACCES, False), (errno.ENOENT, False), (0, False)],
)  # fmt: skip
def test_a_device_that_its_own_mode_closes_tells_nothing_of_a_directive(
    monkeypatch, number, closed
):
    def played(path: str, _flags: int) -> int:
        if number:
            raise OSError(number, os.strerror(number), path)
        return os.memfd_create("zero")

    monkeypatch.setattr(enforced.os, "open", played)
    assert enforced._device_refused("/dev/zero") is closed

"""Lingering: asked of loginctl for the user who runs this, refused without harm, taken back alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import lingering
from local_opus.actions import build
from local_opus.actions.base import State
from local_opus.actions.enable_linger import FOLDER, EnableLinger
from local_opus.errors import LocalOpusError
from local_opus.host import Completed
from local_opus.locations import locate
from local_opus.making import make
from local_opus.values import Scope

LINGER = EnableLinger(user="ann")
REFUSED = Completed(1, "", "Could not enable linger: Access denied\n")
BY_ADMIN = "sudo loginctl enable-linger ann"


def quiet(_step: str, _done: int, _total: int | None) -> None:
    return None


def loginctl(host: FakeHost) -> Callable[[Sequence[str]], Completed]:
    """A logind that keeps a file for each user, as the real one."""

    def run(command: Sequence[str]) -> Completed:
        verb, user = command[-2:]
        if verb == "enable-linger":
            host.files.make_folders(FOLDER)
            host.files.write_atomic(f"{FOLDER}/{user}", b"")
        else:
            host.files.remove(f"{FOLDER}/{user}")
        return Completed(0, "", "")

    return run


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    made = FakeHost(tmp_path)
    monkeypatch.setattr(made.accounts, "own_name", lambda: "ann")
    made.processes.answers["loginctl"] = loginctl(made)
    made.services.runs = True
    return made


def done(host: FakeHost) -> tuple[dict, dict]:  # type: ignore[type-arg]
    before = LINGER.capture(host)
    return before, LINGER.execute(host, before, quiet)


def test_it_is_turned_on_by_name_and_off_again(host: FakeHost) -> None:
    assert LINGER.inspect(host).state is State.ABSENT
    before, after = done(host)
    assert host.processes.calls == [["loginctl", "--no-ask-password", "enable-linger", "ann"]]
    assert LINGER.inspect(host).state is State.PRESENT
    assert LINGER.revert(host, before, after).kept is None
    assert host.files.stat(f"{FOLDER}/ann") is None


def test_one_that_was_on_stays_on(host: FakeHost) -> None:
    loginctl(host)(["enable-linger", "ann"])
    before, after = done(host)
    LINGER.revert(host, before, after)
    assert host.files.stat(f"{FOLDER}/ann") is not None


@pytest.mark.parametrize("answer", [REFUSED, LocalOpusError("loginctl: program not found", "")])
def test_a_refusal_fails_nothing_and_names_what_an_administrator_types(
    host: FakeHost, answer: Completed | LocalOpusError
) -> None:
    def refuse(_: Sequence[str]) -> Completed:
        if isinstance(answer, LocalOpusError):
            raise answer
        return answer

    host.processes.answers["loginctl"] = refuse
    before, after = done(host)
    assert BY_ADMIN in str(LINGER.edited(host, after))
    assert LINGER.revert(host, before, after).kept is None


def test_what_an_administrator_turned_on_later_is_not_turned_off(host: FakeHost) -> None:
    host.processes.answers["loginctl"] = REFUSED
    before, after = done(host)
    host.processes.answers["loginctl"] = loginctl(host)
    loginctl(host)(["enable-linger", "ann"])
    assert LINGER.edited(host, after) is None
    LINGER.revert(host, before, after)
    assert host.files.stat(f"{FOLDER}/ann") is not None


def test_a_yes_that_changes_nothing_is_a_refusal(host: FakeHost) -> None:
    host.processes.answers["loginctl"] = Completed(0, "", "")
    _, after = done(host)
    assert after == {"refused": "loginctl said yes, and it is still off"}


def test_a_refused_way_back_says_what_is_left(host: FakeHost) -> None:
    before, after = done(host)
    host.processes.answers["loginctl"] = Completed(1, "", "Could not disable linger: no\n")
    assert "sudo loginctl disable-linger ann" in str(LINGER.revert(host, before, after).kept)


def test_nobody_elses_lingering_is_touched(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.accounts, "own_name", lambda: "root")
    _, after = done(host)
    assert host.processes.calls == []
    assert after == {"refused": "this is run by another user than ann"}


@pytest.mark.parametrize("user", ["../../etc/passwd", "-M", "--machine=x", "a b", "", "a\n", "."])
def test_a_receipt_can_not_name_an_option_or_a_path(user: str) -> None:
    with pytest.raises(LocalOpusError, match="user"):
        build("enable_linger", {"user": user})


def test_a_receipt_of_the_system_holds_none() -> None:
    with pytest.raises(LocalOpusError, match="of the scope user"):
        make(build, "enable_linger", {"user": "ann"}, ("/opt",), Scope.SYSTEM)


@pytest.mark.parametrize(
    ("on", "run", "says"),
    [
        (True, {}, "on: "),
        (False, {}, BY_ADMIN),
        (False, {"linger": None}, "ends with your last logout"),
        (False, {"linger": False}, "off, as it was asked for"),
    ],
)
def test_status_says_how_long_the_node_lives(
    host: FakeHost, on: bool, run: dict[str, object], says: str
) -> None:
    if on:
        loginctl(host)(["enable-linger", "ann"])
    assert says in str(lingering.told(host, locate(Scope.USER, host.environ), run))


def test_without_a_users_systemd_nobody_asks(host: FakeHost) -> None:
    assert lingering.told(host, locate(Scope.SYSTEM, host.environ), {}) is None
    host.services.runs = False
    assert lingering.told(host, locate(Scope.USER, host.environ), {}) is None

"""What counts as the user's edit: neither what kills left, nor what was put back; all else."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus.actions import build
from local_opus.actions.base import Action
from local_opus.apply import Applier
from local_opus.errors import InterruptedRunError, LocalOpusError
from local_opus.history import Record
from local_opus.journal import Journal
from local_opus.receipts import FIRST_SUM, Receipt
from local_opus.reverting import revert_all
from local_opus.values import Plan, PlannedAction, Scope

RECEIPT = "/var/receipt.jsonl"
FILE, LINK = "/opt/lo/file", "/opt/lo/link"


def planned(id_: str, kind: str, **params: object) -> PlannedAction:
    return PlannedAction(id=id_, kind=kind, summary=id_, params=params)  # type: ignore[arg-type]


def plan(word: str) -> Plan:
    """A file and a link that say ``word``."""
    actions = (
        planned("file", "write_file", path=FILE, content=word, mode=0o644),
        planned("link", "link_command", path=LINK, target=word),
    )
    return Plan(profile="p", scope=Scope.SYSTEM, root="/", model=None, device=None, actions=actions)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    for name in ("var", "opt/lo"):
        (tmp_path / "root" / name).mkdir(parents=True)
    return FakeHost(tmp_path / "root")


def journal(host: FakeHost) -> Journal:
    return Journal(host, Receipt(host, RECEIPT), build, ("/opt/lo",))


def install(host: FakeHost, word: str) -> list[str]:
    return Applier(journal(host)).apply(plan(word), {}, dict).kept


def failing(host: FakeHost, word: str) -> None:
    def self_test() -> dict[str, object]:
        raise LocalOpusError("it does not answer", "look")

    Applier(journal(host)).apply(plan(word), {}, self_test)  # type: ignore[arg-type]


def killed(host: FakeHost, step: str, run: Callable[[], object], *, after: bool) -> None:
    """Run until a step (``execute`` or ``revert``) of the link, and kill before or after it."""
    kind: type[Action] = type(build("link_command", {"path": LINK, "target": ""}))
    real = getattr(kind, step)

    def stopped(*arguments: object) -> None:
        if after:
            real(*arguments)
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, step, stopped)
        with pytest.raises(InterruptedRunError):
            run()


def says(host: FakeHost) -> tuple[str | None, str | None]:
    """Return what the file and the link say; None where one is not there."""
    return (
        host.files.read_text(FILE) if host.files.stat(FILE) else None,
        host.files.read_link(LINK) if host.files.stat(LINK) else None,
    )


def say(host: FakeHost, word: str) -> None:
    """Let the user write both."""
    host.files.write_atomic(FILE, word.encode())
    host.files.symlink(word, LINK)


BOTH = [f"{FILE}: edited since it was written", f"{LINK}: changed since it was linked"]


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_what_interrupted_runs_of_different_plans_left_is_no_edit(host, first, second):
    killed(host, "execute", lambda: install(host, "1"), after=first)
    killed(host, "execute", lambda: install(host, "2"), after=second)
    assert install(host, "3") == []
    assert says(host) == ("3", "3")
    assert revert_all(journal(host)).kept == []
    assert says(host) == (None, None)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_a_failure_after_interrupted_runs_of_different_plans_leaves_nothing(host, first, second):
    killed(host, "execute", lambda: install(host, "1"), after=first)
    killed(host, "execute", lambda: install(host, "2"), after=second)
    with pytest.raises(LocalOpusError, match="does not answer"):
        failing(host, "3")
    assert says(host) == (None, None)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("then", ["1", "2"])
def test_what_a_killed_uninstall_put_back_is_no_edit(host, after, then):
    say(host, "the user's")
    install(host, "1")
    killed(host, "revert", lambda: revert_all(journal(host)), after=after)
    assert install(host, then) == []
    assert says(host) == (then, then)
    revert_all(journal(host))
    assert says(host) == ("the user's", "the user's")


@pytest.mark.parametrize("after", [False, True])
def test_what_a_killed_roll_back_put_back_is_no_edit(host, after):
    install(host, "1")
    killed(host, "revert", lambda: failing(host, "2"), after=after)
    assert install(host, "1") == []
    assert says(host) == ("1", "1")


@pytest.mark.parametrize("word", ["the user's", "1", "other"])
def test_an_edit_is_kept_whatever_it_says(host, word):
    say(host, "the user's")
    install(host, "1")
    install(host, "2")
    say(host, word)
    assert install(host, "3") == BOTH
    assert says(host) == (word, word)
    assert Applier(journal(host)).pending(plan("3")) == []


def test_an_edit_that_says_what_is_planned_is_taken_over(host):
    install(host, "1")
    say(host, "2")
    assert install(host, "2") == []
    revert_all(journal(host))
    assert says(host) == (None, None)


@pytest.mark.parametrize("word", ["1", "2"])
def test_an_edit_of_what_was_there_already_is_kept_and_told(host, word):
    say(host, "1")
    install(host, "1")
    say(host, "other")
    assert install(host, word) == BOTH
    assert Applier(journal(host)).edits() == dict(zip(("file", "link"), BOTH, strict=True))
    revert_all(journal(host))
    assert says(host) == ("other", "other")


def test_what_was_there_already_and_is_as_it_was_gives_way_to_a_new_plan_and_comes_back(host):
    say(host, "1")
    install(host, "1")
    assert install(host, "2") == []
    assert says(host) == ("2", "2")
    revert_all(journal(host))
    assert says(host) == ("1", "1")


def test_what_an_interrupted_run_of_schema_1_had_written_before_is_no_edit(host):
    """Its records say what was there before the install, and not what its update found."""
    content = base64.b64encode(b"the user's").decode()
    before = {"existed": True, "content": content, "mode": 0o644, "uid": 0, "gid": 0}
    first, second = (plan(word).actions[0] for word in "12")
    after = build("write_file", first.params).execute(host, {}, lambda *_: None)
    text, last = "", FIRST_SUM
    for number, record in enumerate(
        (
            {"event": "run"},
            {"event": "begin", "kind": "write_file", "params": first.params, "data": before},
            {"event": "done", "data": after},
            {"event": "finished"},
            {"event": "run"},
            {"event": "begin", "kind": "write_file", "params": second.params, "data": before},
        ),
        1,
    ):
        one = Record.model_validate({"v": 1, "n": number, "at": "", "id": "file", **record})
        last = one.checksum(last)
        text += one.model_copy(update={"sum": last}).model_dump_json() + "\n"
    host.files.write_atomic(RECEIPT, text.encode())
    assert install(host, "3") == []
    revert_all(journal(host))
    assert says(host) == ("the user's", None)

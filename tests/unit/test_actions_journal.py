"""Runs that fail after runs that were killed, on disks that are full: what the journal makes of it."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar, Self

import pytest

from fakes import FakeHost
from local_opus.actions import build
from local_opus.actions.base import Action
from local_opus.actions.link_command import LinkCommand
from local_opus.actions.write_file import WriteFile
from local_opus.apply import Applier
from local_opus.errors import InterruptedRunError, LocalOpusError, MachineCannotError
from local_opus.history import Event
from local_opus.journal import Journal, Outcome
from local_opus.receipts import Receipt
from local_opus.reverting import WayBack, revert_all
from local_opus.rollback import roll_back
from local_opus.values import Plan, PlannedAction, Scope

RECEIPT = "/var/receipt.jsonl"


def planned(id_: str, kind: str, **params: object) -> PlannedAction:
    return PlannedAction(id=id_, kind=kind, summary=id_, params=params)  # type: ignore[arg-type]


def plan(word: str, *names: str) -> Plan:
    actions = [planned("folder", "create_folder", path="/opt/lo", mode=0o755)]
    for name in names:
        path = f"/opt/lo/{name}"
        actions.append(planned(name, "write_file", path=path, content=word, mode=0o644))
    return Plan(profile="p", scope=Scope.SYSTEM, root="/", model=None, device=None, actions=tuple(actions))  # fmt: skip


class Resuming(WriteFile):
    """A file whose action remembers that it was to start again what ran before."""

    resumed: ClassVar[list[str]] = []

    def resume(self, host, before):  # type: ignore[no-untyped-def]
        text = host.files.read_text(self.path) if host.files.stat(self.path) else "nothing"
        self.resumed.append(text)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    for name in ("var", "opt"):
        (tmp_path / "root" / name).mkdir(parents=True)
    return FakeHost(tmp_path / "root")


def make(kind: str, params: dict) -> Action:  # type: ignore[type-arg]
    return Resuming.model_validate(params) if kind == "write_file" else build(kind, params)


def journal(host: FakeHost) -> Journal:
    return Journal(host, Receipt(host, RECEIPT), make, ("/opt/lo",))


def applier(host: FakeHost) -> Applier:
    return Applier(journal(host))


def works() -> dict[str, object]:
    return {"works": True}


def fails() -> dict[str, object]:
    raise LocalOpusError("it does not answer", "look")


def tree(host: FakeHost) -> dict[str, str]:
    return {
        path: host.files.read_text(f"/opt/{path}") if found.kind == "file" else ""
        for path, found in host.files.walk("/opt", folders=True)
    }


def interrupted(host: FakeHost, wanted: Plan, at: str, *, after: bool) -> None:
    """Run until the file ``at`` is begun, or is written but not recorded as done."""
    real = WriteFile.execute

    def execute(self, host, before, progress):  # type: ignore[no-untyped-def]
        if self.path.endswith(at):
            if after:
                real(self, host, before, progress)
            raise KeyboardInterrupt
        return real(self, host, before, progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WriteFile, "execute", execute)
        with pytest.raises(InterruptedRunError):
            applier(host).apply(wanted, {}, works)


@pytest.mark.parametrize("after", [False, True])
def test_a_failure_takes_back_what_an_interrupted_run_left(host, after):
    interrupted(host, plan("1", "a", "b", "c"), "b", after=after)
    with pytest.raises(LocalOpusError, match="does not answer"):
        applier(host).apply(plan("1", "a", "b", "c"), {}, fails)
    assert tree(host) == {}
    assert [entry for entry in Receipt(host, RECEIPT).history.entries if entry.active] == []


@pytest.mark.parametrize("after", [False, True])
def test_a_failed_update_after_an_interrupted_one_can_still_be_taken_back(host, after):
    applier(host).apply(plan("1", "a", "b"), {"profile": "old"}, works)
    interrupted(host, plan("2", "a", "b"), "b", after=after)
    with pytest.raises(LocalOpusError):
        applier(host).apply(plan("2", "a", "b"), {}, fails)
    applier(host).apply(plan("1", "a", "b"), {}, works)
    assert tree(host) == {"lo": "", "lo/a": "1", "lo/b": "1"}
    revert_all(journal(host))
    assert tree(host) == {}


def test_after_a_failed_update_nothing_is_pending_for_the_old(host):
    old = plan("1", "a", "b")
    applier(host).apply(old, {"profile": "old"}, works)
    with pytest.raises(LocalOpusError):
        applier(host).apply(plan("2", "a", "c"), {"profile": "new"}, fails)
    assert tree(host) == {"lo": "", "lo/a": "1", "lo/b": "1"}
    history = Receipt(host, RECEIPT).history
    assert (history.finished, history.run, history.result) == (True, {"profile": "old"}, works())
    assert applier(host).pending(old) == []
    revert_all(journal(host))
    assert tree(host) == {}


def test_resume_comes_when_all_is_back(host):
    applier(host).apply(plan("1", "a", "b"), {}, works)
    Resuming.resumed.clear()
    with pytest.raises(LocalOpusError):
        applier(host).apply(plan("2", "a", "b"), {}, fails)
    assert Resuming.resumed == ["1", "1"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
def test_what_the_system_refuses_is_told_and_taken_back(host, monkeypatch, code):
    real = WriteFile.execute

    def execute(self, host, before, progress):  # type: ignore[no-untyped-def]
        if self.path.endswith("b"):
            raise OSError(code, "the system's own words")
        return real(self, host, before, progress)

    monkeypatch.setattr(WriteFile, "execute", execute)
    kind = MachineCannotError if code in {errno.ENOSPC, errno.EDQUOT} else LocalOpusError
    with pytest.raises(kind, match=r"write /opt/lo/b \(1 bytes, 0644\): the system's own words"):
        applier(host).apply(plan("1", "a", "b"), {}, works)
    assert tree(host) == {}


def test_a_disk_too_full_for_the_journal_still_rolls_back(host, monkeypatch):
    real = Receipt.append
    full = False

    def append(self, event, **fields):  # type: ignore[no-untyped-def]
        nonlocal full
        full = full or (event is Event.BEGIN and fields["id"] == "b")
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(self, event, **fields)

    with monkeypatch.context() as patch:
        patch.setattr(Receipt, "append", append)
        with pytest.raises(MachineCannotError, match="no space left"):
            applier(host).apply(plan("1", "a", "b"), {}, works)
    assert tree(host) == {}
    applier(host).apply(plan("1", "a", "b"), {}, works)
    assert tree(host) == {"lo": "", "lo/a": "1", "lo/b": "1"}


def test_a_record_that_was_written_in_part_counts_as_never_written(host, monkeypatch):
    receipt = Receipt(host, RECEIPT)
    receipt.append(Event.RUN)
    real = host.files.open_append

    class Short:
        def __init__(self, stream: object) -> None:
            self.stream = stream

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self.stream.close()  # type: ignore[attr-defined]

        def write(self, data: bytes) -> int:
            return int(self.stream.write(data[:10]))  # type: ignore[attr-defined]

        def fileno(self) -> int:
            return int(self.stream.fileno())  # type: ignore[attr-defined]

    with monkeypatch.context() as patch:
        patch.setattr(host.files, "open_append", lambda *a, **k: Short(real(*a, **k)))
        with pytest.raises(OSError, match="No space left"):
            receipt.append(Event.FAILED)
    receipt.append(Event.FINISHED)
    events = [record.event for record in Receipt(host, RECEIPT).records]
    assert events == [Event.RUN, Event.FINISHED]


def test_what_can_not_be_put_back_is_named_and_tried_again(host, monkeypatch):
    real = WriteFile.revert

    def revert(self, host, before, after):  # type: ignore[no-untyped-def]
        if self.path.endswith("a"):
            raise OSError(errno.EPERM, "Operation not permitted")
        return real(self, host, before, after)

    with monkeypatch.context() as patch:
        patch.setattr(WriteFile, "revert", revert)
        with pytest.raises(LocalOpusError) as caught:
            applier(host).apply(plan("1", "a", "b"), {}, fails)
    assert caught.value.details == (
        "not taken back: write /opt/lo/a (1 bytes, 0644): operation not permitted",
    )
    assert tree(host) == {"lo": "", "lo/a": "1"}
    revert_all(journal(host))
    assert tree(host) == {}


def test_a_folder_that_holds_something_of_others_is_not_forgotten(host):
    wanted = plan("1", "a")

    def leaves_something() -> dict[str, object]:
        host.files.write_atomic("/opt/lo/theirs", b"x")
        return fails()

    with pytest.raises(LocalOpusError) as caught:
        applier(host).apply(wanted, {}, leaves_something)
    assert caught.value.details == ()
    host.files.remove("/opt/lo/theirs")
    revert_all(journal(host))
    assert tree(host) == {}


def test_an_old_part_that_can_not_be_removed_does_not_fail_the_new(host, monkeypatch):
    applier(host).apply(plan("1", "a", "b"), {}, works)

    def revert(self, host, before, after):  # type: ignore[no-untyped-def]
        raise LocalOpusError("/opt/lo/b: busy", "wait")

    with monkeypatch.context() as patch:
        patch.setattr(WriteFile, "revert", revert)
        outcome = applier(host).apply(plan("1", "a"), {}, works)
    assert outcome.kept == ["b: /opt/lo/b: busy"]
    assert applier(host).pending(plan("1", "a")) == ["b"]
    applier(host).apply(plan("1", "a"), {}, works)
    assert tree(host) == {"lo": "", "lo/a": "1"}


@pytest.mark.parametrize("then", ["again", "back", "failed again"])
def test_what_the_user_edits_after_a_kill_is_kept(host, then):
    applier(host).apply(plan("1", "a", "b"), {}, works)
    interrupted(host, plan("2", "a", "b"), "b", after=True)
    host.files.write_atomic("/opt/lo/b", b"theirs")
    if then == "again":
        outcome = applier(host).apply(plan("2", "a", "b"), {}, works)
    elif then == "back":
        outcome = revert_all(journal(host))
    else:
        with pytest.raises(LocalOpusError):
            applier(host).apply(plan("2", "a", "b"), {}, fails)
        outcome = revert_all(journal(host))
    assert host.files.read_text("/opt/lo/b") == "theirs"
    assert "/opt/lo/b: edited since it was written" in outcome.kept


@pytest.mark.parametrize("after", [False, True])
def test_a_failed_update_after_a_killed_one_leaves_the_old_and_no_mixture(host, after):
    applier(host).apply(plan("1", "a", "b", "c"), {"profile": "old"}, works)
    interrupted(host, plan("2", "a", "b", "d"), "b", after=after)
    with pytest.raises(LocalOpusError):
        applier(host).apply(plan("2", "a", "b", "d"), {}, fails)
    assert tree(host) == {"lo": "", "lo/a": "1", "lo/b": "1", "lo/c": "1"}
    assert applier(host).pending(plan("1", "a", "b", "c")) == []


def test_killed_after_the_new_counts_the_old_parts_still_go(host, monkeypatch):
    applier(host).apply(plan("1", "a", "b"), {}, works)

    def killed(self, host, before, after):  # type: ignore[no-untyped-def]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(WriteFile, "revert", killed)
        with pytest.raises(InterruptedRunError):
            applier(host).apply(plan("2", "a"), {}, works)
    assert Receipt(host, RECEIPT).history.finished
    assert applier(host).pending(plan("2", "a")) == ["b"]
    with pytest.raises(LocalOpusError):
        applier(host).apply(plan("2", "a"), {}, fails)
    assert host.files.read_text("/opt/lo/a") == "2"
    applier(host).apply(plan("2", "a"), {}, works)
    assert tree(host) == {"lo": "", "lo/a": "2"}


class Trial(WriteFile):
    """Leaves nothing: what it does is taken back at once."""

    kind: ClassVar[str] = "trial"


def with_trial(word: str, *names: str) -> Plan:
    wanted = plan(word, *names)
    params = {"path": "/opt/lo/trial", "content": "x", "mode": 0o644}
    trial = PlannedAction(id="trial", kind="trial", summary="t", params=params, transient=True)
    return wanted.model_copy(update={"actions": (wanted.actions[0], trial, *wanted.actions[1:])})


def trial_journal(host: FakeHost) -> Journal:
    def made(kind: str, params: dict) -> Action:  # type: ignore[type-arg]
        return Trial.model_validate(params) if kind == "trial" else make(kind, params)

    return Journal(host, Receipt(host, RECEIPT), made, ("/opt/lo",))


def trying(host: FakeHost) -> Applier:
    return Applier(trial_journal(host))


def test_a_trial_is_undone_at_once_and_never_pending_alone(host):
    trying(host).apply(with_trial("1", "a"), {}, works)
    assert tree(host) == {"lo": "", "lo/a": "1"}
    assert trying(host).pending(with_trial("1", "a")) == []
    assert trying(host).pending(with_trial("2", "a")) == ["trial", "a"]
    assert trying(host).pending(plan("1", "a")) == []


@pytest.mark.parametrize("then", ["same", "other", "back"])
def test_a_trial_that_was_killed_is_undone_first(host, monkeypatch, then):
    def execute(self, host, before, progress):  # type: ignore[no-untyped-def]
        WriteFile.execute(self, host, before, progress)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trial, "execute", execute)
        with pytest.raises(InterruptedRunError):
            trying(host).apply(with_trial("1", "a"), {}, works)
    assert host.files.stat("/opt/lo/trial") is not None
    if then == "back":
        revert_all(trial_journal(host))
        assert tree(host) == {}
        return
    trying(host).apply(with_trial("1", "a") if then == "same" else plan("1", "a"), {}, works)
    assert tree(host) == {"lo": "", "lo/a": "1"}


def test_after_an_uninstall_that_left_something_a_failed_run_brings_nothing_back(host):
    applier(host).apply(plan("1", "a"), {"profile": "old"}, works)
    held = journal(host)
    WayBack(held).revert(lambda entry: entry.kind == "write_file")
    held.receipt.append(Event.LEFT)
    with pytest.raises(LocalOpusError, match="does not answer"):
        applier(host).apply(plan("2", "a"), {"profile": "new"}, fails)
    history = Receipt(host, RECEIPT).history
    assert (history.left, history.finished, history.run) == (True, False, {})
    assert [entry.id for entry in history.entries] == ["folder"]
    assert tree(host) == {"lo": ""}


def test_a_folder_of_a_former_plan_goes_once_nothing_is_in_it(host):
    def with_folders(*names: str) -> Plan:
        folders = [planned(name, "create_folder", path=f"/opt/lo/{name}") for name in names]
        return plan("1").model_copy(update={"actions": (*plan("1").actions, *folders)})

    applier(host).apply(with_folders("x", "y"), {}, works)
    host.files.write_atomic("/opt/lo/y/weights", b"")
    outcome = applier(host).apply(with_folders("x"), {}, works)
    assert outcome.kept == ["/opt/lo/y: not empty (weights)"]
    assert applier(host).pending(with_folders("x")) == []
    host.files.remove("/opt/lo/y/weights")
    assert applier(host).pending(with_folders("x")) == ["y"]
    applier(host).apply(with_folders("x"), {}, works)
    assert tree(host) == {"lo": "", "lo/x": ""}


def test_the_folders_of_a_former_plan_go_from_the_inside_out_also_when_one_was_repaired(host):
    both = plan("1", "a")
    applier(host).apply(both, {}, works)
    host.files.set_mode("/opt/lo", 0o700)
    applier(host).apply(both, {}, works)
    applier(host).apply(both.model_copy(update={"actions": ()}), {}, works)
    assert tree(host) == {}


def test_a_failed_first_run_takes_folders_back_from_the_inside_out_also_when_one_was_repaired(host):
    interrupted(host, plan("1", "a", "b"), "b", after=True)
    host.files.set_mode("/opt/lo", 0o700)
    with pytest.raises(LocalOpusError):
        applier(host).apply(plan("1", "a", "b"), {}, fails)
    assert tree(host) == {}


def test_what_a_full_disk_refused_to_put_back_is_put_back_when_the_others_have_made_room(
    host, monkeypatch
):
    """An upgrade fills the disk with what it adds; to go back takes room, too."""
    applier(host).apply(plan("1", "a", "b"), {}, works)
    real = host.files.write_atomic

    def write_atomic(path, data, **how):  # type: ignore[no-untyped-def]
        large = host.files.stat("/opt/lo/large") is not None
        if large and path in {"/opt/lo/a", "/opt/lo/b"} and data == b"1":
            raise OSError(errno.ENOSPC, "no space left on device", path)
        return real(path, data, **how)

    monkeypatch.setattr(host.files, "write_atomic", write_atomic)
    wanted = plan("2", "a", "large", "b")
    with pytest.raises(LocalOpusError, match="does not answer") as raised:
        applier(host).apply(wanted, {}, fails)
    assert raised.value.details == ()
    assert tree(host) == {"lo": "", "lo/a": "1", "lo/b": "1"}
    assert applier(host).pending(plan("1", "a", "b")) == []


def test_a_disk_that_stays_full_is_told_once_for_each(host, monkeypatch):
    applier(host).apply(plan("1", "a", "b"), {}, works)
    real = host.files.write_atomic

    def write_atomic(path, data, **how):  # type: ignore[no-untyped-def]
        if data == b"1":
            raise OSError(errno.ENOSPC, "no space left on device", path)
        return real(path, data, **how)

    monkeypatch.setattr(host.files, "write_atomic", write_atomic)
    with pytest.raises(LocalOpusError, match="does not answer") as raised:
        applier(host).apply(plan("2", "a", "b"), {}, fails)
    assert [line.partition(" (")[0] for line in raised.value.details] == [
        "not taken back: write /opt/lo/b",
        "not taken back: write /opt/lo/a",
    ]


def test_what_is_as_it_was_is_not_written_to_be_put_back(host, monkeypatch):
    """A kill, or a full disk, came before anything was changed."""
    host.files.make_folder("/opt/lo")
    host.files.write_atomic("/opt/lo/a", b"theirs")
    before = WriteFile(path="/opt/lo/a", content="1").capture(host)
    monkeypatch.setattr(host.files, "write_atomic", lambda *_, **__: pytest.fail("written"))
    WriteFile(path="/opt/lo/a", content="1").revert(host, before, None)


def test_a_record_that_is_no_actions_does_not_stop_a_roll_back(host):
    interrupted(host, plan("1", "a", "b"), "b", after=True)
    Receipt(host, RECEIPT).append(Event.BEGIN, id="c", kind="of a later version", params={})
    Receipt(host, RECEIPT).append(Event.RUN, data={})
    outcome = Outcome()
    error = LocalOpusError("it does not answer", "look")
    roll_back(journal(host), outcome, error)
    assert tree(host) == {}
    assert outcome.kept == ["receipt: no action is called of a later version"]


def test_an_uninstall_whose_end_a_full_disk_did_not_record_finds_no_edit(host, monkeypatch):
    host.files.make_folder("/opt/lo")
    host.files.write_atomic("/opt/lo/a", b"theirs")
    applier(host).apply(plan("1", "a"), {}, works)
    with monkeypatch.context() as patch:
        full = OSError(errno.ENOSPC, "no space left on device")
        patch.setattr(Receipt, "append", lambda *_, **__: (_ for _ in ()).throw(full))
        with pytest.raises(LocalOpusError, match="no space"):
            revert_all(journal(host))
    assert tree(host) == {"lo": "", "lo/a": "theirs"}
    assert revert_all(journal(host)).kept == []
    assert tree(host) == {"lo": "", "lo/a": "theirs"}


A_FILE = planned("server", "write_file", path="/opt/lo/file", content="x", mode=0o644)
A_LINK = planned("server", "link_command", path="/opt/lo/link", target="x")


def one(action: PlannedAction) -> Plan:
    """A plan of an id that another machine has for another kind: with systemd, and without."""
    return plan("1").model_copy(update={"actions": (*plan("1").actions, action)})


def names(host: FakeHost) -> list[str]:
    return host.files.list("/opt/lo") if host.files.stat("/opt/lo") is not None else []


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [(A_FILE, A_LINK, ["link"]), (A_LINK, A_FILE, ["file"])],
    ids=["file", "link"],
)
def test_an_action_of_another_kind_takes_the_place_of_the_first(host, first, second, left):
    applier(host).apply(one(first), {}, works)
    assert applier(host).pending(one(second)) == ["server"]
    applier(host).apply(one(second), {}, works)
    assert names(host) == left
    assert applier(host).pending(one(second)) == []
    revert_all(journal(host))
    assert names(host) == []


def test_each_kind_puts_back_what_it_found_itself(host):
    host.files.make_folders("/opt/lo")
    host.files.write_atomic("/opt/lo/file", b"theirs")
    host.files.symlink("theirs", "/opt/lo/link")
    for action in (A_FILE, A_LINK):
        applier(host).apply(one(action), {}, works)
    assert host.files.read_text("/opt/lo/file") == "theirs"
    assert host.files.read_link("/opt/lo/link") == "x"
    revert_all(journal(host))
    assert host.files.read_link("/opt/lo/link") == "theirs"


def test_the_first_is_back_where_a_run_with_another_kind_fails(host):
    applier(host).apply(one(A_FILE), {}, works)
    with pytest.raises(LocalOpusError, match="does not answer"):
        applier(host).apply(one(A_LINK), {}, fails)
    assert names(host) == ["file"]
    assert applier(host).pending(one(A_FILE)) == []
    assert Receipt(host, RECEIPT).history.finished


@pytest.mark.parametrize("then", [A_FILE, A_LINK], ids=["the first", "the other"])
def test_a_kill_while_the_first_makes_way_is_gone_on_from(host, then):
    applier(host).apply(one(A_FILE), {}, works)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LinkCommand, "capture", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(InterruptedRunError):
            applier(host).apply(one(A_LINK), {}, works)
    assert names(host) == []
    applier(host).apply(one(then), {}, works)
    assert names(host) == [str(then.params["path"]).rpartition("/")[2]]
    revert_all(journal(host))
    assert names(host) == []

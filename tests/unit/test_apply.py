"""Applying a plan: resume, roll back, revert, and what is never touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus.actions.base import Action
from local_opus.actions.create_folder import CreateFolder
from local_opus.actions.link_command import LinkCommand
from local_opus.actions.write_file import WriteFile
from local_opus.apply import Applier
from local_opus.errors import InterruptedRunError, LocalOpusError
from local_opus.history import Event
from local_opus.journal import Journal, Listener
from local_opus.receipts import Receipt
from local_opus.reverting import revert_all
from local_opus.values import Plan, PlannedAction, Scope

RECEIPT = "/var/receipt.jsonl"
KINDS = {kind.kind: kind for kind in (CreateFolder, WriteFile, LinkCommand)}


def build(kind: str, params: dict) -> Action:  # type: ignore[type-arg]
    return KINDS[kind].model_validate(params)


def planned(id_: str, kind: str, **params: object) -> PlannedAction:
    return PlannedAction(id=id_, kind=kind, summary=id_, params=params)  # type: ignore[arg-type]


def plan(*actions: PlannedAction) -> Plan:
    return Plan(profile="p", scope=Scope.SYSTEM, root="/", model=None, device=None, actions=actions)


FOLDER = planned("folder", "create_folder", path="/opt/lo/bin", mode=0o755)
FILE = planned("file", "write_file", path="/opt/lo/bin/x", content="one\n", mode=0o644)
LINK = planned("link", "link_command", path="/opt/lo/link", target="bin/x")
PLAN = plan(FOLDER, FILE, LINK)


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    for name in ("var", "opt"):
        (tmp_path / "root" / name).mkdir(parents=True)
    return FakeHost(tmp_path / "root")


def journal(host: FakeHost) -> Journal:
    return Journal(host, Receipt(host, RECEIPT), build, ("/opt/lo",))


def applier(host: FakeHost) -> Applier:
    return Applier(journal(host))


def tree(host: FakeHost) -> dict[str, tuple[str, int, bytes | str]]:
    found: dict[str, tuple[str, int, bytes | str]] = {}
    for path, stat in host.files.walk("/opt", folders=True):
        content: bytes | str = ""
        if stat.kind == "file":
            content = host.files.read_bytes(f"/opt/{path}")
        elif stat.kind == "link":
            content = host.files.read_link(f"/opt/{path}")
        found[path] = (stat.kind, stat.mode, content)
    return found


def nothing() -> dict[str, object]:
    return {}


def test_apply_then_revert_leaves_the_tree_as_it_was(host: FakeHost) -> None:
    before = tree(host)
    applier(host).apply(PLAN, {}, nothing)
    assert host.files.read_text("/opt/lo/link") == "one\n"
    revert_all(journal(host))
    assert tree(host) == before


def test_the_second_time_nothing_is_pending(host: FakeHost) -> None:
    applier(host).apply(PLAN, {}, nothing)
    assert applier(host).pending(PLAN) == []


@pytest.mark.parametrize("fails_at", ["folder", "file", "link", "self-test"])
def test_a_failure_anywhere_reverts_what_was_done(
    host: FakeHost, fails_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(host)
    for kind in KINDS.values():
        real = kind.execute

        def execute(self, host, record, progress, real=real):  # type: ignore[no-untyped-def]
            after = real(self, host, record, progress)
            if self.kind.startswith(
                {"folder": "create", "file": "write", "link": "link"}.get(fails_at, "none")
            ):
                raise LocalOpusError("disk full", "free some")
            return after

        monkeypatch.setattr(kind, "execute", execute)

    def self_test() -> dict[str, object]:
        raise LocalOpusError("it does not answer", "look")

    with pytest.raises(LocalOpusError):
        applier(host).apply(PLAN, {}, self_test)
    assert tree(host) == before
    events = [record.event for record in Receipt(host, RECEIPT).records]
    assert Event.FAILED in events
    assert Event.FINISHED not in events


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("victim", ["create_folder", "write_file", "link_command"])
@pytest.mark.parametrize("then", ["resume", "revert"])
def test_a_kill_at_any_action_resumes_or_reverts(
    host: FakeHost, victim: str, when: str, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tree(host)
    with monkeypatch.context() as patch:
        real = KINDS[victim].execute

        def execute(self, host, record, progress):  # type: ignore[no-untyped-def]
            if when == "after":
                real(self, host, record, progress)
            raise KeyboardInterrupt

        patch.setattr(KINDS[victim], "execute", execute)
        with pytest.raises(InterruptedRunError):
            applier(host).apply(PLAN, {}, nothing)
    if then == "resume":
        applier(host).apply(PLAN, {}, nothing)
        assert host.files.read_text("/opt/lo/link") == "one\n"
    revert_all(journal(host))
    assert tree(host) == before


def test_what_was_there_before_is_never_removed(host: FakeHost) -> None:
    host.files.make_folders("/opt/lo/bin")
    host.files.write_atomic("/opt/lo/bin/x", b"one\n")
    before = tree(host)
    applier(host).apply(PLAN, {}, nothing)
    revert_all(journal(host))
    assert tree(host) == before


def test_a_file_that_was_overwritten_comes_back(host: FakeHost) -> None:
    host.files.make_folders("/opt/lo/bin")
    host.files.write_atomic("/opt/lo/bin/x", b"theirs", mode=0o600)
    before = tree(host)
    applier(host).apply(PLAN, {}, nothing)
    assert host.files.read_text("/opt/lo/bin/x") == "one\n"
    revert_all(journal(host))
    assert tree(host) == before


def test_an_edited_file_is_kept_by_install_and_by_revert(host: FakeHost) -> None:
    applier(host).apply(PLAN, {}, nothing)
    host.files.write_atomic("/opt/lo/bin/x", b"edited")
    assert applier(host).pending(PLAN) == []
    outcome = applier(host).apply(PLAN, {}, nothing)
    assert outcome.kept == ["/opt/lo/bin/x: edited since it was written"]
    outcome = revert_all(journal(host))
    assert host.files.read_text("/opt/lo/bin/x") == "edited"
    assert "/opt/lo/bin/x: edited since it was written" in outcome.kept


@pytest.mark.parametrize("damage", ["file removed", "link removed", "mode changed"])
def test_running_again_repairs(host: FakeHost, damage: str) -> None:
    applier(host).apply(PLAN, {}, nothing)
    good = tree(host)
    if damage == "mode changed":
        host.files.set_mode("/opt/lo/bin", 0o700)
    else:
        host.files.remove("/opt/lo/bin/x" if damage == "file removed" else "/opt/lo/link")
    outcome = applier(host).apply(PLAN, {}, nothing)
    assert len(outcome.changed) == 1
    assert tree(host) == good


def test_what_the_new_plan_does_not_hold_is_taken_back(host: FakeHost) -> None:
    applier(host).apply(PLAN, {}, nothing)
    applier(host).apply(plan(FOLDER, FILE), {}, nothing)
    assert host.files.stat("/opt/lo/link") is None
    assert host.files.stat("/opt/lo/bin/x") is not None


def test_new_content_replaces_the_old(host: FakeHost) -> None:
    applier(host).apply(PLAN, {}, nothing)
    newer = planned("file", "write_file", path="/opt/lo/bin/x", content="two\n", mode=0o644)
    applier(host).apply(plan(FOLDER, newer, LINK), {}, nothing)
    assert host.files.read_text("/opt/lo/bin/x") == "two\n"
    revert_all(journal(host))
    assert tree(host) == {}


@pytest.mark.parametrize("path", ["/etc/passwd", "/opt/lo/../../etc/passwd", "/opt/local"])
def test_a_receipt_can_not_name_a_path_outside_of_the_roots(host: FakeHost, path: str) -> None:
    receipt = Receipt(host, RECEIPT)
    params = {"path": path, "content": "x", "mode": 0o644}
    receipt.append(
        Event.BEGIN, id="evil", kind="write_file", params=params, data={"existed": False}
    )
    with pytest.raises(LocalOpusError, match="outside of the folders"):
        revert_all(journal(host))


def test_what_the_program_runs_from_is_reverted_late(host: FakeHost, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(WriteFile, "reverted_in", 1)
    order: list[str] = []
    listener = Listener(started=lambda id_, _summary: order.append(id_))
    applier(host).apply(plan(FOLDER, LINK, FILE), {}, nothing)
    revert_all(Journal(host, Receipt(host, RECEIPT), build, ("/opt/lo",), listener))
    assert order == ["link", "file", "folder"]


def test_a_folder_that_was_repaired_goes_after_those_in_it(host: FakeHost) -> None:
    before = tree(host)
    outer = planned("outer", "create_folder", path="/opt/lo", mode=0o755)
    both = plan(outer, FOLDER, FILE, LINK)
    applier(host).apply(both, {}, nothing)
    host.files.set_mode("/opt/lo", 0o700)
    assert applier(host).apply(both, {}, nothing).changed == ["outer"]
    assert revert_all(journal(host)).kept == []
    assert tree(host) == before

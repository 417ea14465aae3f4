"""What a user closed to himself: told by looking, repaired, and taken back; an edit is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import environment, program, resources
from local_opus.actions import build
from local_opus.actions.base import State
from local_opus.apply import Applier
from local_opus.errors import LocalOpusError
from local_opus.host import Completed
from local_opus.host.files import Files
from local_opus.journal import Journal, Outcome
from local_opus.receipts import Receipt
from local_opus.reverting import revert_all
from local_opus.values import Plan, PlannedAction, Scope
from nobody import as_nobody, folder_of_nobody

RECEIPT = "/var/receipt.jsonl"
SHA = "ab" * 32


def planned(id_: str, kind: str, **params: object) -> PlannedAction:
    return PlannedAction(id=id_, kind=kind, summary=id_, params=params)  # type: ignore[arg-type]


PLAN = Plan(
    profile="p", scope=Scope.USER, root="/", model=None, device=None, actions=(
        planned("folder", "create_folder", path="/home/lo", mode=0o755),
        planned("private", "create_folder", path="/home/lo/config", mode=0o700),
        planned("file", "write_file", path="/home/lo/config/x", content="one\n", mode=0o600),
        planned("link", "link_command", path="/home/lo/link", target="config/x"),
        planned(
            "environment", "create_environment", folder="/home/lo/env-1", lock="requirements.lock",
            lock_sha256=SHA, program_sha256=SHA, interpreter="/usr/bin/python3.12", python="3.12",
        ),
    ),
)  # fmt: skip
CLOSED = [
    "home/lo", "home/lo/config", "home/lo/config/x", "home/lo/env-1", "home/lo/env-1/bin",
    "home/lo/env-1/lib/python3.12",
]  # fmt: skip


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # That user may not be able to read the checkout, nor the environment of the tests.
    monkeypatch.setattr(program, "files", lambda: [("__init__.py", b"")])
    monkeypatch.setattr(resources, "folder", Path)
    monkeypatch.setattr(resources, "read", lambda *_: "")
    monkeypatch.setattr(environment, "install_into_command", lambda python, _lock: [python])
    with folder_of_nobody() as made:
        yield made


def venv(command: Sequence[str]) -> Completed:
    os.makedirs(f"{command[-1]}/bin")
    os.symlink("/usr/bin/python3.12", f"{command[-1]}/bin/python")
    return Completed(0, "", "")


class Node:
    """An install in a folder, by the user who calls."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.host = FakeHost(root)
        self.host.processes.answers = {"python3.12": venv}
        if not (root / "var").exists():
            (root / "var").mkdir()
            (root / "home").mkdir()
            self.install()

    @property
    def journal(self) -> Journal:
        return Journal(self.host, Receipt(self.host, RECEIPT), build, ("/home/lo",))

    @property
    def applier(self) -> Applier:
        return Applier(self.journal)

    def install(self) -> Outcome:
        return self.applier.apply(PLAN, {}, dict)

    def modes(self) -> dict[str, int]:
        return {name: found.mode for name, found in self.host.files.walk("/home", folders=True)}


@pytest.mark.parametrize("closed", [*CLOSED[:3], CLOSED[3]])
def test_it_is_repaired(root, closed):
    def steps() -> None:
        node = Node(root)
        as_installed = node.modes()
        (root / closed).chmod(0o000)
        assert node.applier.pending(PLAN) != []
        assert node.applier.edits() == {}
        assert (root / closed).lstat().st_mode & 0o777 == 0, "looking changed it"
        assert node.install().kept == []
        assert node.modes() == as_installed
        assert node.applier.pending(PLAN) == []

    as_nobody(steps)


@pytest.mark.parametrize("closed", [*CLOSED, "home/lo/config and home/lo/config/x"])
def test_it_is_taken_back(root, closed):
    def steps() -> None:
        node = Node(root)
        for path in reversed(closed.split(" and ")):
            (root / path).chmod(0o000)
        assert revert_all(node.journal).kept == []
        assert os.listdir(root / "home") == []

    as_nobody(steps)


def test_folders_that_were_repaired_since_are_opened_before_what_lies_in_them(root):
    def steps() -> None:
        node = Node(root)
        for path in ("home/lo/config", "home/lo"):
            (root / path).chmod(0o000)
            node.install()
        for path in ("home/lo/config/x", "home/lo/config", "home/lo"):
            (root / path).chmod(0o000)
        assert revert_all(node.journal).kept == []
        assert os.listdir(root / "home") == []

    as_nobody(steps)


@pytest.mark.parametrize("way", ["repair", "back"])
def test_an_edit_is_kept_though_it_is_closed(root, way):
    def steps() -> None:
        node = Node(root)
        edited = root / "home/lo/config/x"
        edited.write_text("mine\n")
        edited.chmod(0o000)
        kept = node.install().kept if way == "repair" else revert_all(node.journal).kept
        assert "/home/lo/config/x: edited since it was written" in kept
        assert edited.read_text() == "mine\n"

    as_nobody(steps)


def test_an_edit_after_a_kill_is_kept_though_it_is_closed(root, monkeypatch):
    def steps() -> None:
        node = Node(root)
        revert_all(node.journal)
        monkeypatch.setattr(node.host.files, "symlink", interrupted)
        with pytest.raises(LocalOpusError, match="interrupted"):
            node.install()
        edited = root / "home/lo/config/x"
        edited.write_text("mine\n")
        edited.chmod(0o000)
        revert_all(node.journal)
        assert edited.read_text() == "mine\n"

    as_nobody(steps)


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_failed_repair_takes_back_what_lies_in_a_closed_folder(root, monkeypatch):
    def steps() -> None:
        node = Node(root)
        (root / "home/lo/config/x").unlink()
        (root / "home/lo/config").chmod(0o000)
        with pytest.raises(LocalOpusError, match="does not answer"):
            node.applier.apply(PLAN, {}, no_answer)
        (root / "home/lo/config").chmod(0o700)
        assert os.listdir(root / "home/lo/config") == []

    as_nobody(steps)


def no_answer() -> dict[str, object]:
    raise LocalOpusError("it does not answer", "Look.")


@pytest.mark.parametrize(
    ("kind", "params", "state"),
    [
        ("write_file", {"path": "/home/lo/config/x", "content": "one\n", "mode": 0o600}, "mode 0000"),
        ("create_folder", {"path": "/home/lo/config/x"}, "a file is in its place"),
    ],
)  # fmt: skip
def test_looking_says_what_is_wrong(root, kind, params, state):
    def steps() -> None:
        node = Node(root)
        (root / "home/lo/config/x").chmod(0o000)
        found = build(kind, params).inspect(node.host)
        assert (found.state, found.evidence) == (State.DIFFERENT, state)

    as_nobody(steps)


def test_a_file_of_somebody_else_is_not_taken_for_ours(root):
    if os.geteuid() != 0:
        pytest.skip("needs a second user")
    as_nobody(lambda: Node(root))
    theirs = root / "home/lo/config/x"
    theirs.unlink()
    theirs.write_text("root's\n")
    theirs.chmod(0o600)

    def steps() -> None:
        with pytest.raises(LocalOpusError, match="permission denied"):
            revert_all(Node(root).journal)

    as_nobody(steps)
    assert theirs.read_text() == "root's\n"


def test_the_space_of_a_closed_folder_is_that_of_its_file_system(root):
    def steps() -> None:
        (root / "closed").mkdir()
        (root / "closed").chmod(0o000)
        assert Files(str(root)).space("/closed/models").total > 0

    as_nobody(steps)


def test_a_tree_with_closed_folders_is_removed_and_what_links_lead_to_is_not(root):
    def steps() -> None:
        (root / "tree/a/b").mkdir(parents=True)
        (root / "outside").mkdir(mode=0o500)
        (root / "tree/a/b/link").symlink_to(root / "outside")
        (root / "tree/a/b").chmod(0o000)
        (root / "tree/a").chmod(0o500)
        Files(str(root)).remove_tree("/tree")
        assert not (root / "tree").exists()
        assert (root / "outside").stat().st_mode & 0o777 == 0o500

    as_nobody(steps)

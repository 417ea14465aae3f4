"""Folders, files, links and environments: from every state there can be, and back to it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pydantic import JsonValue

from fakes import FakeHost
from local_opus.actions import REGISTRY, build
from local_opus.actions.base import Action, State
from local_opus.errors import LocalOpusError
from local_opus.host import Completed

PYTHON = "/usr/bin/python3.12"
SHA = "ab" * 32
ACTIONS: dict[str, dict[str, JsonValue]] = {
    "create_folder": {"path": "/opt/a/b", "mode": 0o750},
    "write_file": {"path": "/opt/file", "content": "héllo\n", "mode": 0o640},
    "link_command": {"path": "/opt/link", "target": "/opt/lo/bin/x"},
    "create_environment": {
        "folder": "/opt/env-1", "lock": "requirements.lock", "lock_sha256": SHA,
        "program_sha256": SHA, "interpreter": PYTHON, "python": "3.12",
    },
}  # fmt: skip
Setup = Callable[[Path], object]


def folder(path: str, mode: int) -> Setup:
    def make(root: Path) -> None:
        (root / path).mkdir(parents=True)
        (root / path).chmod(mode)

    return make


def file(path: str, text: str, mode: int = 0o644) -> Setup:
    def make(root: Path) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
        (root / path).chmod(mode)

    return make


def link(path: str, target: str) -> Setup:
    return lambda root: (root / path).symlink_to(target)


def both(*setups: Setup) -> Setup:
    return lambda root: [setup(root) for setup in setups]


def nothing(_root: Path) -> None:
    return None


ENVIRONMENT = both(
    file("opt/env-1/.complete", f"{SHA} {SHA}\n"),
    folder("opt/env-1/bin", 0o755),
    link("opt/env-1/bin/python", PYTHON),
)
#: Action, what is there before, what inspection says of it.
BEFORE: list[tuple[str, str, Setup, State]] = [
    ("create_folder", "nothing", nothing, State.ABSENT),
    ("create_folder", "its parent", folder("opt/a", 0o700), State.ABSENT),
    ("create_folder", "another mode", folder("opt/a/b", 0o777), State.DIFFERENT),
    ("create_folder", "the same", folder("opt/a/b", 0o750), State.PRESENT),
    ("write_file", "nothing", nothing, State.ABSENT),
    ("write_file", "other text", file("opt/file", "theirs", 0o600), State.DIFFERENT),
    ("write_file", "another mode", file("opt/file", "héllo\n", 0o600), State.DIFFERENT),
    ("write_file", "the same", file("opt/file", "héllo\n", 0o640), State.PRESENT),
    ("link_command", "nothing", nothing, State.ABSENT),
    ("link_command", "another target", link("opt/link", "/bin/sh"), State.DIFFERENT),
    ("link_command", "the same", link("opt/link", "/opt/lo/bin/x"), State.PRESENT),
    ("create_environment", "nothing", nothing, State.ABSENT),
    ("create_environment", "the same", ENVIRONMENT, State.PRESENT),
]
#: What stands in the way and is nobody's to remove.
IN_THE_WAY: list[tuple[str, str, Setup]] = [
    ("create_folder", "a file", file("opt/a/b", "x")),
    ("create_folder", "a link to nowhere", both(folder("opt/a", 0o755), link("opt/a/b", "/mnt"))),
    ("write_file", "a folder", folder("opt/file", 0o755)),
    ("write_file", "a link", link("opt/file", "/etc/passwd")),
    ("write_file", "a huge file", file("opt/file", "x" * (1024 * 1024 + 1))),
    ("link_command", "a file", file("opt/link", "x")),
    ("link_command", "a folder", folder("opt/link", 0o755)),
]
NAMES = [f"{kind}: {what}" for kind, what, *_ in BEFORE]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "opt").mkdir(parents=True)
    return root


@pytest.fixture
def host(root: Path) -> FakeHost:
    host = FakeHost(root)

    def venv(command: Sequence[str]) -> Completed:
        if command[-1].startswith(str(root)):
            os.makedirs(f"{command[-1]}/bin")
            os.symlink(PYTHON, f"{command[-1]}/bin/python")
        return Completed(0, "Collecting click==1\n", "")

    host.processes.answers = {"python3.12": venv}
    return host


def make(kind: str) -> Action:
    return build(kind, ACTIONS[kind])


def tree(root: Path) -> dict[str, tuple[int, str]]:
    found = {}
    for path in sorted((root / "opt").rglob("*")):
        text = (
            os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
        )
        found[str(path.relative_to(root))] = (path.lstat().st_mode, text)
    return found


def run(action: Action, host: FakeHost) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    before = action.capture(host)
    return before, action.execute(host, before, lambda *_: None)


@pytest.mark.parametrize(("kind", "what", "setup", "state"), BEFORE, ids=NAMES)
def test_inspection(host, root, kind, what, setup, state):
    setup(root)
    found = make(kind).inspect(host)
    assert found.state is state
    assert found.evidence


@pytest.mark.parametrize(("kind", "what", "setup", "state"), BEFORE, ids=NAMES)
def test_there_and_back(host, root, kind, what, setup, state):
    setup(root)
    before_tree, action = tree(root), make(kind)
    before, after = run(action, host)
    assert action.inspect(host).state is State.PRESENT
    assert action.edited(host, after) is None
    assert action.revert(host, before, after).kept is None
    if (kind, what) != ("create_environment", "the same"):  # made anew, not put back
        assert tree(root) == before_tree


@pytest.mark.parametrize(("kind", "what", "setup", "state"), BEFORE, ids=NAMES)
def test_killed_and_done_again_and_taken_back(host, root, kind, what, setup, state):
    setup(root)
    before_tree, action = tree(root), make(kind)
    before, _ = run(action, host)
    action.execute(host, before, lambda *_: None)
    assert action.inspect(host).state is State.PRESENT
    action.revert(host, before, None)
    action.revert(host, before, None)
    if (kind, what) != ("create_environment", "the same"):
        assert tree(root) == before_tree


@pytest.mark.parametrize(("kind", "what", "setup", "state"), BEFORE, ids=NAMES)
def test_killed_before_anything_was_done(host, root, kind, what, setup, state):
    setup(root)
    before_tree, action = tree(root), make(kind)
    action.revert(host, action.capture(host), None)
    assert tree(root) == before_tree


@pytest.mark.parametrize(
    ("kind", "what", "setup"), IN_THE_WAY, ids=[f"{kind}: {what}" for kind, what, _ in IN_THE_WAY]
)
def test_what_is_in_the_way_stays(host, root, kind, what, setup):
    setup(root)
    before_tree, action = tree(root), make(kind)
    assert action.inspect(host).state is State.DIFFERENT
    with pytest.raises(LocalOpusError, match=r"in the place|is there"):
        run(action, host)
    assert tree(root) == before_tree


def replaced(path: str, *setups: Setup) -> Setup:
    """Put something else in the place of what an action made."""

    def make(root: Path) -> None:
        shutil.move(root / path, root / "moved")
        both(*setups)(root)

    return make


#: What an action made, what took its place, and how that is told.
REPLACED: list[tuple[str, Setup, str]] = [
    ("create_folder", replaced("opt/a/b", link("opt/a/b", "/moved")), "/opt/a/b: a link took its place"),
    ("create_folder", replaced("opt/a/b", link("opt/a/b", "/away")), "/opt/a/b: a link took its place"),
    ("create_folder", replaced("opt/a/b", file("opt/a/b", "x")), "/opt/a/b: a file took its place"),
    ("create_folder", replaced("opt/a", file("opt/a", "x")), "/opt/a: a file took its place"),
    ("create_environment", replaced("opt/env-1", link("opt/env-1", "/moved")), "/opt/env-1: a link took its place"),
    ("create_environment", replaced("opt/env-1", file("opt/env-1", "x")), "/opt/env-1: a file took its place"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "replace", "told"), REPLACED)
def test_what_took_the_place_of_a_folder_is_kept_for_good(host, root, kind, replace, told):
    action = make(kind)
    before, after = run(action, host)
    replace(root)
    left = tree(root)
    assert action.held(host, before) is None
    found = action.revert(host, before, after)
    assert (found.kept, found.later) == (told, False)
    assert tree(root) == left


def test_a_link_to_a_folder_stands_for_that_folder(host, root):
    folder("mnt/big", 0o775)(root)
    both(folder("opt/a", 0o755), link("opt/a/b", "/mnt/big"))(root)
    action = make("create_folder")
    assert action.inspect(host).state is State.DIFFERENT
    before, after = run(action, host)
    assert action.inspect(host).state is State.PRESENT
    assert (root / "mnt/big").stat().st_mode & 0o7777 == 0o750
    assert action.revert(host, before, after).kept is None
    assert (root / "mnt/big").stat().st_mode & 0o7777 == 0o775
    assert (root / "opt/a/b").is_symlink()


@pytest.mark.parametrize(
    ("kind", "there"),
    [("write_file", file("opt/file", "theirs")), ("link_command", link("opt/link", "theirs"))],
)
def test_what_was_there_comes_back_with_the_folder_that_was_removed(host, root, kind, there):
    there(root)
    before_tree, action = tree(root), make(kind)
    before, after = run(action, host)
    shutil.rmtree(root / "opt")
    assert action.revert(host, before, after).kept is None
    assert tree(root) == before_tree


EDITS: list[tuple[str, Setup]] = [
    ("write_file", file("opt/file", "edited")),
    ("write_file", both(lambda root: (root / "opt/file").unlink(), folder("opt/file", 0o755))),
    ("link_command", both(lambda root: (root / "opt/link").unlink(), link("opt/link", "mine"))),
    ("link_command", both(lambda root: (root / "opt/link").unlink(), file("opt/link", "mine"))),
]


@pytest.mark.parametrize(("kind", "edit"), EDITS)
def test_what_the_user_edited_is_kept_and_named(host, root, kind, edit):
    action = make(kind)
    before, after = run(action, host)
    edit(root)
    edited = tree(root)
    assert action.paths()[0] in str(action.edited(host, after))
    assert action.revert(host, before, after).kept == action.edited(host, after)
    assert tree(root) == edited


@pytest.mark.parametrize("kind", ["write_file", "link_command"])
def test_what_the_user_removed_is_not_edited(host, root, kind):
    action = make(kind)
    before, after = run(action, host)
    (root / action.paths()[0].lstrip("/")).unlink()
    assert action.edited(host, after) is None
    assert action.revert(host, before, after).kept is None
    assert tree(root) == {}


def test_a_folder_with_something_in_it_is_kept_for_later(host, root):
    action = make("create_folder")
    before, after = run(action, host)
    (root / "opt/a/b/mine").touch()
    found = action.revert(host, before, after)
    assert found.kept == "/opt/a/b: not empty (mine)"
    assert found.later
    (root / "opt/a/b/mine").unlink()
    assert action.revert(host, before, after).kept is None
    assert tree(root) == {}


def test_a_folder_of_others_keeps_its_mode(host, root):
    folder("opt/bin", 0o2775)(root)
    shared = build("create_folder", {"path": "/opt/bin", "mode": None})
    assert shared.inspect(host).state is State.PRESENT
    run(shared, host)
    assert (root / "opt/bin").stat().st_mode & 0o7777 == 0o2775
    new = build("create_folder", {"path": "/opt/new", "mode": None})
    run(new, host)
    assert (root / "opt/new").stat().st_mode & 0o7777 == 0o755


def test_an_unknown_group_is_told(root):
    host = FakeHost(root)
    action = build("write_file", {"path": "/x", "content": "", "group": "no-such-group"})
    host.is_image = True  # type: ignore[misc]
    run(action, host)  # in an image it may come later
    host.is_image = False  # type: ignore[misc]
    with pytest.raises(LocalOpusError, match="group no-such-group: it does not exist"):
        run(action, host)


@pytest.mark.parametrize("kind", ACTIONS)
def test_a_receipt_gives_the_action_back(kind):
    action = make(kind)
    assert build(kind, action.model_dump(mode="json")) == action
    assert "\n" not in action.summary()


def test_the_registry_names_each_action_by_its_kind():
    assert {name: action.kind for name, action in REGISTRY.items()} == {
        name: name for name in REGISTRY
    }
    assert len(REGISTRY) == 18


@pytest.mark.parametrize(
    ("kind", "params", "words"),
    [
        ("burn_disk", {}, "no action is called burn_disk"),
        ("write_file", {"path": "/x"}, "action write_file: content: "),
        ("write_file", {"path": "/x", "content": "", "evil": 1}, "action write_file: evil: "),
        ("create_folder", {"path": "/x", "mode": "rwx"}, "action create_folder: mode: "),
        ("create_environment", {**ACTIONS["create_environment"], "lock_sha256": "../x"}, "lock_sha256"),
    ],
)  # fmt: skip
def test_a_receipt_that_names_nonsense_is_refused(kind, params, words):
    with pytest.raises(LocalOpusError, match=words):
        build(kind, params)


def test_the_digest_of_a_written_file_is_recorded(host):
    _, after = run(make("write_file"), host)
    assert after == {"sha256": hashlib.sha256("héllo\n".encode()).hexdigest()}

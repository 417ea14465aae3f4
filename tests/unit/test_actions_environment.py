"""The environment of an install: made anew when it is not whole, through the root's own links."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import environment, program
from local_opus.actions import build
from local_opus.actions.base import Action, State
from local_opus.errors import LocalOpusError
from local_opus.host import Completed

PYTHON = "/usr/bin/python3.12"
SHA = "ab" * 32
PARAMS = {
    "folder": "/opt/env-1", "lock": "requirements.lock", "lock_sha256": SHA,
    "program_sha256": SHA, "interpreter": PYTHON, "python": "3.12",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "opt").mkdir(parents=True)
    return root


@pytest.fixture
def host(root: Path) -> FakeHost:
    """Its Python makes an environment where it is told to."""
    host = FakeHost(root)

    def venv(command: Sequence[str]) -> Completed:
        os.makedirs(f"{command[-1]}/bin")
        os.symlink(PYTHON, f"{command[-1]}/bin/python")
        Path(f"{command[-1]}/bin/tool").write_text(f"#!{command[-1]}/bin/python\n")
        Path(f"{command[-1]}/bin/tool").chmod(0o755)
        return Completed(0, "Collecting click==1\n", "")

    host.processes.answers = {"python3.12": venv}
    return host


def run(action: Action, host: FakeHost) -> None:
    action.execute(host, action.capture(host), lambda *_: None)


def test_an_environment_is_made_through_the_links_of_its_own_root(host, root):
    """What pip is told must not be a path that leads out of the image."""
    host.is_image = True
    (root / "data").mkdir()
    (root / "opt/lo").symlink_to("/data")
    action = build("create_environment", {**PARAMS, "folder": "/opt/lo/env"})
    run(action, host)
    named = [
        word for call in host.processes.calls for word in call if "/.env.local-opus-new" in word
    ]
    assert named
    assert all(word.startswith(f"{root}/data/.env.local-opus-new") for word in named)
    assert (root / "data/env/.complete").read_text() == f"{SHA} {SHA}\n"


BROKEN = ["no marker", "no python", "another lock", "open to others"]


@pytest.mark.parametrize("broken", BROKEN)
def test_a_half_made_environment_is_made_anew(host, root, broken):
    action = damaged(host, root, broken)
    assert action.inspect(host).state is State.DIFFERENT
    run(action, host)
    assert action.inspect(host).state is State.PRESENT
    assert not (root / "opt/env-1/left-over").exists()
    assert os.listdir(root / "opt") == ["env-1"]


def damaged(host: FakeHost, root: Path, broken: str) -> Action:
    """Make an environment, with a file in it that tells it from a new one, and damage it."""
    action = build("create_environment", PARAMS)
    run(action, host)
    (root / "opt/env-1/left-over").touch()
    if broken == "no marker":
        (root / "opt/env-1/.complete").unlink()
    elif broken == "no python":
        (root / "opt/env-1/bin/python").unlink()
    elif broken == "open to others":  # they may have changed what is in it
        (root / "opt/env-1").chmod(0o777)
    else:
        (root / "opt/env-1/.complete").write_text(f"{'cd' * 32} {SHA}\n")
    return action


@pytest.mark.parametrize("mode", [0o700, 0o000, 0o555])
def test_an_environment_that_is_whole_gets_its_mode_back_and_nothing_else(host, root, mode):
    """Also without a network, where nothing could be made anew."""
    action = build("create_environment", PARAMS)
    run(action, host)
    (root / "opt/env-1/left-over").touch()
    (root / "opt/env-1").chmod(mode)
    assert action.inspect(host).state is State.DIFFERENT
    host.processes.calls.clear()
    run(action, host)
    assert host.processes.calls == []
    assert (root / "opt/env-1/left-over").exists()
    assert action.inspect(host).state is State.PRESENT


@pytest.mark.parametrize("broken", BROKEN)
def test_pip_that_fails_leaves_the_environment_that_was_there(host, root, broken, monkeypatch):
    action = damaged(host, root, broken)
    before = snapshot(root / "opt/env-1")
    answer = host.processes.answers["python3.12"]
    monkeypatch.setattr(
        host.processes, "run", lambda command, **_: Completed(1, "", "") if "install" in command else answer(command)
    )  # fmt: skip
    found = action.capture(host)
    with pytest.raises(LocalOpusError):
        action.execute(host, found, lambda *_: None)
    assert snapshot(root / "opt/env-1") == before
    action.revert(host, found, None)
    assert snapshot(root / "opt/env-1") == before
    assert os.listdir(root / "opt") == ["env-1"]


def test_a_disk_that_pip_filled_is_named_by_the_folder_of_the_environment(host, root, monkeypatch):
    monkeypatch.setattr(host, "keep_log", lambda *_: pytest.fail("nobody reads it"))
    action, answer = build("create_environment", PARAMS), host.processes.answers["python3.12"]
    full = Completed(1, "", "ERROR: [Errno 28] No space left on device")
    monkeypatch.setattr(
        host.processes, "run", lambda command, **_: full if "install" in command else answer(command)
    )  # fmt: skip
    with pytest.raises(LocalOpusError, match=f"no space left on the disk of {root}/opt "):
        run(action, host)


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_ino for path in [folder, *folder.rglob("*")]}


class Killed(BaseException):
    """What ends a run at one of its calls."""


def killed_at(host: FakeHost, number: int, *, after: bool) -> Callable[[], None]:
    """Kill before or after call ``number`` of the door's files; return what revives the host."""
    calls = count()

    def watch(name: str) -> None:
        real = getattr(host.files, name)

        def call(*args: object, **more: object) -> None:
            dies = next(calls) == number
            if dies and not after:
                raise Killed
            real(*args, **more)
            if dies:
                raise Killed

        setattr(host.files, name, call)

    names = ("make_folder", "write_atomic", "rename", "remove_tree", "set_mode")
    for name in names:
        watch(name)
    return lambda: [delattr(host.files, name) for name in names] and None


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("way", ["again", "back", "removed"])
def test_after_a_kill_anywhere_an_environment_works(host, root, way, after, monkeypatch):
    monkeypatch.setattr(program, "files", lambda: [("__init__.py", b"")])
    for number in count():
        action = damaged(host, root, "another lock")
        found = action.capture(host)
        revive = killed_at(host, number, after=after)
        try:
            action.execute(host, found, lambda *_: None)
        except Killed:
            revive()
        else:
            break
        if (root / "opt/env-1").exists():  # what stands there is one of the two, whole
            assert (root / "opt/env-1/lib/python3.12/site-packages/local_opus/__init__.py").exists()
        if way == "again":
            run(action, host)
            assert action.inspect(host).state is State.PRESENT
        else:
            action.revert(host, {"existed": way == "back"}, None)
            whole = (root / "opt/env-1/left-over").exists() or action.inspect(host).state is State.PRESENT  # fmt: skip
            assert whole is (way == "back")
        assert os.listdir(root / "opt") == ([] if way == "removed" else ["env-1"])
        action.revert(host, {"existed": False}, None)
    assert number > 5


def test_all_that_it_makes_is_named(host, root, monkeypatch):
    action, made = damaged(host, root, "another lock"), set()
    rename = host.files.rename

    def watched(old: str, new: str) -> None:
        made.update({old, new})
        rename(old, new)

    monkeypatch.setattr(host.files, "rename", watched)
    run(action, host)
    assert made == set(action.paths())


def test_scripts_name_the_place_that_the_environment_ends_up_in(host, root):
    run(build("create_environment", PARAMS), host)
    script = root / "opt/env-1/bin/tool"
    assert script.read_text() == f"#!{root}/opt/env-1/bin/python\n"
    assert script.stat().st_mode & 0o777 == 0o755


def test_a_link_in_its_place_is_somebodys(host, root):
    (root / "opt/env-1").symlink_to("/srv")
    action = build("create_environment", PARAMS)
    with pytest.raises(LocalOpusError, match="a link took the place of the environment"):
        run(action, host)
    assert (root / "opt/env-1").is_symlink()


def test_an_environment_holds_this_program(host, root):
    run(build("create_environment", PARAMS), host)
    package = root / "opt/env-1/lib/python3.12/site-packages/local_opus"
    copied = {str(path.relative_to(package)): path.read_bytes() for path in package.rglob("*") if path.is_file()}  # fmt: skip
    assert copied == dict(program.files())
    assert "data/profiles/local-opus.toml" in copied
    assert "data/locks/requirements-server.lock" in copied


def test_pip_that_fails_fails_the_action_and_leaves_no_marker(host, root, monkeypatch):
    words = (
        "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    )
    answer = host.processes.answers["python3.12"]
    monkeypatch.setattr(
        host.processes, "run", lambda command, **_: Completed(1, "", words) if "install" in command else answer(command)
    )  # fmt: skip
    (root / "tmp").mkdir()
    action = build("create_environment", PARAMS)
    with pytest.raises(LocalOpusError, match="no space left"):
        run(action, host)
    assert not (root / "opt/env-1/.complete").exists()
    action.revert(host, {"existed": False}, None)
    assert list((root / "opt").iterdir()) == []


def test_nothing_of_the_compiler_outlives_it(tmp_path):
    """Its pool of processes would wait for ever for a parent that was killed."""
    for number in range(300):
        (tmp_path / f"m{number}.py").write_text("x = [0] * 99\n" * 500)
    command = environment.compile_command(sys.executable, str(tmp_path))
    with subprocess.Popen(command, start_new_session=True) as child:
        below = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        deadline = time.monotonic() + 20
        while not (pool := below.read_text().split()) and time.monotonic() < deadline:
            time.sleep(0.01)
        child.kill()
    assert pool
    while (left := [pid for pid in pool if alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert left == []


def alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False

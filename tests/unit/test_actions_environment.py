"""The environment of an install: made anew when it is not whole, through the root's own links."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
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
    named = [word for call in host.processes.calls for word in call if word.endswith(("/env", "/env/bin/python"))]  # fmt: skip
    assert named
    assert all(word.startswith(f"{root}/data/env") for word in named)
    assert (root / "data/env/.complete").read_text() == f"{SHA} {SHA}\n"


@pytest.mark.parametrize("broken", ["no marker", "no python", "another lock", "closed"])
def test_a_half_made_environment_is_made_anew(host, root, broken):
    run(build("create_environment", PARAMS), host)
    (root / "opt/env-1/left-over").touch()
    if broken == "no marker":
        (root / "opt/env-1/.complete").unlink()
    elif broken == "no python":
        (root / "opt/env-1/bin/python").unlink()
    elif broken == "closed":  # to the service
        (root / "opt/env-1").chmod(0o700)
    else:
        (root / "opt/env-1/.complete").write_text(f"{'cd' * 32} {SHA}\n")
    action = build("create_environment", PARAMS)
    assert action.inspect(host).state is State.DIFFERENT
    run(action, host)
    assert action.inspect(host).state is State.PRESENT
    assert not (root / "opt/env-1/left-over").exists()


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

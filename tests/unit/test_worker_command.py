"""A worker in another environment: this program's modules, that environment's packages."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

import pytest

from local_opus.host import worker_command

SAY = """
if __name__ == "__main__":
    import sys
    import packed
    from local_opus.words import OWN
    print(OWN, packed.WHOSE, sys.modules["local_opus"].__path__[0], __spec__.name)
"""


def program(folder: Path, own: str) -> Path:
    """A program and a package beside it, as in the packages of an environment."""
    files = {"local_opus/__init__.py": "", "local_opus/words.py": f"OWN = {own!r}\n",
             "local_opus/runtime/__init__.py": "", "local_opus/runtime/say.py": SAY,
             "packed.py": f"WHOSE = {own!r}\n"}  # fmt: skip
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def other_python(tmp_path: Path) -> str:
    """The Python of an environment with an older program and packages of its own."""
    venv.create(tmp_path / "other", with_pip=False)
    (packages,) = (tmp_path / "other").glob("lib/*/site-packages")
    program(packages, "the other's")
    return str(tmp_path / "other/bin/python")


def test_it_is_this_program_with_the_packages_of_the_other(tmp_path, monkeypatch, other_python):
    here = program(tmp_path / "here", "mine")
    monkeypatch.setattr(worker_command, "package_parent", lambda: str(here))
    command = worker_command.worker_command(other_python, "local_opus.runtime.say")
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=here)
    said = f"mine the other's {here}/local_opus local_opus.runtime.say\n"
    assert (done.stdout, done.stderr) == (said, "")


def test_a_worker_that_does_not_exist_says_so():
    command = worker_command.worker_command(sys.executable, "local_opus.runtime.none")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("No module named local_opus.runtime.none")

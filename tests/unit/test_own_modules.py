"""Modules that are imported after their files are gone."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from local_opus import own_modules

PACKAGE = {
    "__init__.py": "",
    "late.py": "from .parts import word\n",
    "parts/__init__.py": "from .deep import WORD as word\n",
    "parts/deep.py": "WORD = 'späte'\n",
}


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with a package of its own, and this program's modules."""
    folder = tmp_path / "env"
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/*/site-packages"))
    for name, text in PACKAGE.items():
        path = packages / "stuff" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (packages / "single.py").write_text("")
    (packages / "unused").mkdir()
    (packages / "unused" / "__init__.py").write_text("")
    (packages / "local_opus").mkdir()
    for name in ("__init__.py", "own_modules.py"):
        shutil.copy2(Path(own_modules.__file__).parent / name, packages / "local_opus")
    return folder


def run(environment: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(environment / "bin/python"), "-s", "-P", "-B", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )


GONE = "import shutil, sys; shutil.rmtree(sys.prefix); "


def test_without_it_they_are_missing(environment):
    done = run(environment, f"import stuff; {GONE} import stuff.late")
    assert "No module named 'stuff.late'" in done.stderr


def test_they_come_from_memory(environment):
    keep = (
        f"from local_opus import own_modules; assert own_modules.keep({str(environment.parent)!r})"
    )
    use = "import stuff.late; print(stuff.late.word.encode(), stuff.parts.__path__)"
    done = run(environment, f"import stuff, single; {keep}; {GONE} {use}")
    assert done.stderr == ""
    assert done.stdout == "b'sp\\xc3\\xa4te' []\n"


def test_what_does_not_exist_is_missing_still(environment):
    keep = f"from local_opus import own_modules; own_modules.keep({str(environment)!r})"
    done = run(environment, f"import stuff; {keep}; {GONE} import stuff.never")
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'stuff.never'"


@pytest.mark.parametrize("folder", ["elsewhere", "env2", "env/lib/nothing"])
def test_a_program_from_elsewhere_keeps_nothing(environment, folder):
    other = str(environment.parent / folder)
    code = f"from local_opus import own_modules; import sys; print(own_modules.keep({other!r}))"
    assert run(environment, code).stdout == "False\n"


def test_this_process_is_left_alone():
    before = list(sys.meta_path)
    assert own_modules.keep("/nowhere") is False
    assert sys.meta_path == before

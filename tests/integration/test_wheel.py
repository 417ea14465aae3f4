"""The wheel of a checkout: the same program, all of it, and nothing else."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from whole_checkout import copy_all

from local_opus import __version__, program

INFO = f"local_opus-{__version__}.dist-info"
#: What says how an install of a program's files is called; run with the folder that holds them.
DIGEST = """
import sys
sys.path.insert(0, sys.argv[1])
from local_opus import program
print(program.__file__, program.digest(), *(name for name, _ in program.files()), sep="\\n")
"""


def build(checkout: Path, out: Path) -> zipfile.ZipFile:
    """Build with this environment's hatchling; no network."""
    words = ("wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", str(out))
    subprocess.run(
        [sys.executable, "-m", "pip", *words, str(checkout)],
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        check=True,
        capture_output=True,
    )
    (path,) = out.glob("*.whl")
    return zipfile.ZipFile(path)


def digest_of(folder: Path) -> tuple[str, list[str]]:
    """Return the digest and the files of the program in ``folder``, by that program's own word."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", DIGEST, str(folder)], capture_output=True, text=True, check=True
    )  # fmt: skip
    origin, digest, *names = done.stdout.splitlines()
    assert origin == str(folder / "local_opus" / "program.py")
    return digest, names


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that has been worked with: byte code, an editor's backup, another wheel."""
    copy = copy_all(tmp_path_factory.mktemp("wheel") / "check out")
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(copy / "src")], check=True)
    (copy / "dist").mkdir()
    (copy / "dist" / "old.whl").touch()
    return copy


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return build(checkout, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def files(wheel: zipfile.ZipFile) -> Mapping[str, bytes]:
    return {name: wheel.read(name) for name in wheel.namelist()}


@pytest.fixture(scope="module")
def metadata(files: Mapping[str, bytes]) -> email.message.Message:
    return email.message_from_bytes(files[f"{INFO}/METADATA"])


def test_it_holds_the_program_and_nothing_else(files):
    info = {name for name in files if name.startswith(INFO)}
    held = {name.partition("/")[2]: data for name, data in files.items() if name not in info}
    assert held == dict(program.files())
    assert {name.partition("/")[2] for name in info} == {"METADATA", "WHEEL", "RECORD", "entry_points.txt"}  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["data/profiles/military.toml", "data/templates/local-opus.sh.j2", "catalog/models.toml",
     "data/systemd/local-opus.service.j2", "data/locks/requirements-server.lock",
     "data/locks/requirements-signing.lock"],
)  # fmt: skip
def test_it_carries_what_an_install_needs(files, name):
    assert files[f"local_opus/{name}"]


def test_an_install_from_it_gets_the_name_of_one_from_the_checkout(wheel, checkout, tmp_path):
    wheel.extractall(tmp_path)
    assert digest_of(tmp_path) == digest_of(checkout / "src")
    assert digest_of(tmp_path)[0] == program.digest()


def test_a_copy_of_its_program_has_that_name_too(wheel, tmp_path):
    """What an install copies is such a program, and can install in its turn."""
    for name, data in program.files():
        path = tmp_path / "local_opus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert digest_of(tmp_path)[0] == program.digest()


def test_its_build_leaves_the_checkout_as_it_was(checkout, tmp_path):
    before = set(checkout.rglob("*"))
    first = build(checkout, tmp_path / "a")
    second = build(checkout, tmp_path / "b")
    assert set(checkout.rglob("*")) == before
    read = [Path(str(one.filename)).read_bytes() for one in (first, second)]
    assert read[0] == read[1]


def test_its_metadata(metadata, files, checkout):
    project = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    assert (metadata["Name"], metadata["Version"]) == ("local-opus", __version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (checkout / "README.md").read_text().strip()
    assert metadata["Summary"] == project["description"]
    assert "Operating System :: POSIX :: Linux" in metadata.get_all("Classifier")
    needed = [one for one in metadata.get_all("Requires-Dist") if "extra ==" not in one]
    assert sorted(needed) == sorted(project["dependencies"])
    assert "openvino==" in " ".join(needed)
    assert files[f"{INFO}/entry_points.txt"].decode().split("\n")[:2] == [
        "[console_scripts]", "local-opus = local_opus.cli:main",
    ]  # fmt: skip
    assert b"Root-Is-Purelib: true" in files[f"{INFO}/WHEEL"]

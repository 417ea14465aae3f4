"""The environment of signing: made at the first use, once, and told so."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout_tree import make_wheel
from node_program import Program

from local_opus import resources, signing_environment
from local_opus.errors import MachineCannotError
from local_opus.host import Host
from local_opus.report.setting_up import SetUpScreen
from signatures import key_pair

SAID = "Making an environment for signing"


@pytest.fixture
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A program without the signature library; its lock is of one tiny wheel."""
    folder, wheels = tmp_path / "locks", tmp_path / "wheels"
    folder.mkdir(mode=0o755)
    wheels.mkdir()
    (folder / "requirements-signing.lock").write_text(make_wheel(wheels, "1.0"))
    monkeypatch.setattr(resources, "folder", lambda kind: folder)
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "model_signing" else real(name)
    )
    for name, value in (("PIP_CONFIG_FILE", "/dev/null"), ("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(wheels))):  # fmt: skip
        monkeypatch.setenv(name, value)
    return folder


def test_it_is_made_once(locks, capsys):
    found = []
    for _ in range(2):
        host = Host("/")
        before = host.processes.worker_python
        with signing_environment.workers(host, SetUpScreen(SAID)) as python:
            assert host.processes.worker_python == python
            found.append(python)
        assert host.processes.worker_python == before
    assert capsys.readouterr().err == f"{SAID}\n"
    assert found[0] == found[1]
    assert Path(found[0]).is_relative_to(locks / ".env")
    code = "import tinything; print(tinything.VERSION)"
    done = subprocess.run([found[0], "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1.0\n"


def test_offline_it_says_what_makes_it_ahead(locks, monkeypatch):
    monkeypatch.delenv("PIP_FIND_LINKS")
    with (
        pytest.raises(MachineCannotError, match="no package index that pip reaches") as error,
        signing_environment.workers(Host("/"), SetUpScreen(SAID)),
    ):
        pass
    assert "`local-opus models sign --prepare` makes it ahead" in error.value.remedy
    assert not [path for path in (locks / ".env").iterdir() if path.is_dir()]


def test_where_the_library_is_there_no_environment_is_made(capsys):
    host = Host("/")
    with signing_environment.workers(host, SetUpScreen(SAID)) as python:
        assert host.processes.worker_python == python
    assert capsys.readouterr().err == ""


def test_an_installed_program_signs(seeded, tmp_path):
    """With the real lock, by an environment that lies in the program's own and goes with it."""
    program: Program = seeded()
    (environment,) = program.prefix.glob("env-*")
    private, public = key_pair(tmp_path)
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    command = [str(environment / "bin/python"), "-I", "-m", "local_opus.cli"]

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*command, *map(str, words)], env=program.environ, capture_output=True, text=True, check=False)  # fmt: skip

    prepared = run("models", "sign", "--prepare")
    assert (prepared.returncode, prepared.stderr) == (0, f"{SAID}: 60 MB, once\n")
    (made,) = environment.glob("lib/python*/site-packages/local_opus/data/locks/.env/signing-*/bin")
    assert prepared.stdout == f"{made}/python: ready to sign\n"
    signed = run("models", "sign", folder, "--private-key", private)
    assert (signed.returncode, signed.stderr) == (0, "")
    checked = run("verify", folder, "--public-key", public)
    assert (checked.returncode, ": holds, 1 file, " in checked.stdout) == (0, True)

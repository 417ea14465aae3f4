"""``pipx install .``: the program without a checkout, installed and taken back by its users' tool."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from node_program import MODEL, Program, tree
from whole_checkout import copy_all

DRY_RUN = ("install", "--local-opus", "--model", MODEL, "--dry-run", "--json")


@dataclass(frozen=True)
class Piped:
    """What pipx installed from a checkout that is gone, and what that checkout's program planned."""

    environ: dict[str, str]
    home: Path
    command: Path
    checkout: Path
    plan: dict[str, Any]

    def run(self, *words: str, code: int = 0, name: str = "local-opus") -> str:
        """Run it by its name on the PATH; return what it says."""
        done = subprocess.run(
            [name, *words], env=self.environ, cwd="/", capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr


def plan_of(lines: str) -> dict[str, Any]:
    (plan,) = [line for line in map(json.loads, lines.splitlines()) if line["event"] == "plan"]
    # What is usable of memory and free on the disk changes from one moment to the next.
    return {name: value for name, value in plan.items() if name not in {"memory", "disk"}}


@pytest.fixture(scope="module")
def piped(tmp_path_factory: pytest.TempPathFactory, _pip_cache: str) -> Iterator[Piped]:
    top = tmp_path_factory.mktemp("pipx")
    program = Program(copy_all(top / "check out"), top / "home", _pip_cache)
    plan = plan_of(program.run(*DRY_RUN).stdout)
    environ = {name: value for name, value in program.environ.items() if name != "PYTHONPATH"}
    pipx = {"PIPX_HOME": top / "pipx", "PIPX_BIN_DIR": top / "bin", "PIPX_MAN_DIR": top / "man"}
    subprocess.run(
        [sys.executable, "-m", "pipx", "install", str(program.checkout)],
        env={**environ, **{name: str(path) for name, path in pipx.items()}},
        cwd=top, check=True, capture_output=True,
    )  # fmt: skip
    shutil.rmtree(program.checkout)
    environ["PATH"] = f"{top / 'bin'}:{environ['PATH']}"
    yield Piped(environ, program.home, top / "bin" / "local-opus", program.checkout, plan)
    program.end_all()


def test_the_program_is_on_the_path(piped):
    assert shutil.which("local-opus", path=piped.environ["PATH"]) == str(piped.command)
    assert piped.run("--version").startswith("local-opus, version ")
    assert piped.run("--help").startswith("Usage: local-opus ")


def test_it_asks_openvino_for_the_devices(piped):
    found = json.loads(piped.run("detect", "--json"))
    assert found["openvino"]["problem"] is None
    assert "CPU" in {device["name"] for device in found["openvino"]["devices"]}


def test_it_plans_what_the_checkouts_program_planned(piped):
    assert plan_of(piped.run(*DRY_RUN)) == piped.plan


def test_what_to_type_is_what_pipx_put_on_the_path(piped):
    said = piped.run("verify", code=3)
    assert "fix: Install a model: `local-opus install --local-opus`." in said
    assert "installer" not in said


def test_its_other_commands(piped):
    assert MODEL in piped.run("models", "list")
    assert "_LOCAL_OPUS_COMPLETE" in piped.run("completion", "bash")
    assert "nothing is installed" in piped.run("receipt", code=1)


def test_it_installs_a_program_that_takes_itself_back(piped):
    before = tree(piped.home)
    assert "Done." in piped.run("install", "--external-api", "--yes")
    installed = str(piped.home / ".local/bin/local-opus")
    again = ("install", "--external-api", "--yes")
    assert piped.run(*again).splitlines()[-1] == "no changes"
    assert piped.run(*again, name=installed).splitlines()[-1] == "no changes"
    assert "complete" in piped.run("receipt", name=installed)
    assert piped.run("uninstall", "--yes", name=installed).splitlines()[-1] == "Uninstalled."
    assert tree(piped.home) == before

"""The installed program alone: the checkout and its environment are gone."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from first_parts import Parts
from node_program import MODEL, Program, Tree, tree, without_progress
from whole_checkout import copy_all

from local_opus import cli

#: Uninstalls in this process, then imports what it never imported before: the files are gone.
UNINSTALL_AND_GO_ON = """
import sys
from local_opus.cli import main
late = ("rich.tree", "rich.emoji", "rich._emoji_codes", "click.testing", "pydantic.color")
assert not set(late) <= set(sys.modules)
before = set(sys.modules)
code = main(["uninstall", "--yes"])
import importlib, os
assert not os.path.exists(sys.prefix)
for name in late:
    importlib.import_module(name)
main(["no-such-command"])
sys.exit(code)
"""


class Installed:
    """The command on the PATH of a home, with nothing of the checkout in its surroundings."""

    def __init__(self, program: Program, before: Tree) -> None:
        self.program = program
        self.before = before
        self.environ = {name: value for name, value in program.environ.items()
                        if name not in {"PYTHONPATH", "LOCAL_OPUS_SCOPE"}}  # fmt: skip
        self.environ["PATH"] = f"{program.home}/.local/bin:/usr/bin:/bin"

    def run(self, *words: str, code: int = 0) -> str:
        """Run it by its name; return what it says, on standard error where it fails."""
        done = subprocess.run(
            ["local-opus", *words], env=self.environ, cwd=self.program.home, text=True,
            capture_output=True, stdin=subprocess.DEVNULL, timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        said = without_progress(done.stderr)
        assert said == "" or code != 0
        return done.stdout or said

    @property
    def environment(self) -> Path:
        (folder,) = self.program.prefix.glob("env-*")
        return folder


def set_up(checkout: Path, program: Program) -> Installed:
    """Install with the checkout's ``installer``, as its users do, and remove the checkout."""
    before = tree(program.home)
    environ = {name: value for name, value in program.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, str(checkout / "installer"), "--external-api", "--yes"],
        env=environ, cwd=checkout, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert (checkout / ".env").is_dir()  # its environment goes with it
    shutil.rmtree(checkout)
    return Installed(program, before)


@pytest.fixture(scope="module")
def installed(parts: Parts, tmp_path_factory: pytest.TempPathFactory, _pip_cache: str) -> Iterator[Installed]:  # fmt: skip
    """The profile without any local component, and a store that weights came to since."""
    top = tmp_path_factory.mktemp("installed")
    checkout = copy_all(top / "checkout")
    program = Program(checkout, top / "home", _pip_cache)
    (program.prefix / "models").mkdir(parents=True)
    installed = set_up(checkout, program)
    shutil.copytree(parts.models, program.prefix / "models", dirs_exist_ok=True)
    yield installed
    program.end_all()


def test_nothing_in_it_names_the_checkout(installed):
    mark = str(installed.program.checkout).encode()
    assert not installed.program.checkout.exists()
    for path in installed.program.home.rglob("*"):
        if path.is_symlink():
            assert mark not in str(path.readlink()).encode()
        elif path.is_file() and ".git" not in path.name:
            assert mark not in path.read_bytes(), path


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help(installed, name):
    assert installed.run(name, "--help").startswith(f"Usage: local-opus {name}")


def test_it_is_the_program_that_was_installed(installed):
    assert installed.run("install", "--external-api", "--yes").splitlines()[-1] == "no changes"


def test_it_tells_what_there_is(installed):
    assert "none: the profile external-api installs no local component" in installed.run("status")
    assert json.loads(installed.run("detect", "--json"))["cpu"]["architecture"] == "x86_64"
    assert "profile external-api, scope user" in installed.run("receipt")
    assert "smollm2-135m" in installed.run("models", "list")
    assert "fix: Run `local-opus install --local-opus` first." in installed.run("start", code=1)
    plan = [json.loads(line) for line in installed.run("--dry-run", "--json").splitlines()]
    assert (plan[-1]["event"], plan[-1]["profile"]) == ("plan", "military")


def test_it_installs_another_profile(installed):
    """It runs from the environment that goes on the way, and the server comes up."""
    old = installed.environment
    said = installed.run(*installed.program.install_words())
    assert "It works." in said
    assert installed.environment != old
    assert json.loads(installed.run("status", "--json"))["model"] == MODEL
    again = installed.run(*installed.program.install_words())
    assert again.splitlines()[-1] == "no changes", again


def test_it_takes_itself_back(installed):
    said = installed.run("uninstall", "--yes", "--purge")
    assert said.splitlines()[-1] == "Uninstalled."
    assert tree(installed.program.home) == installed.before
    assert installed.program.processes() == {}


@pytest.fixture
def odd_home(checkout_copy: Path, tmp_path: Path, _pip_cache: str) -> Program:
    """A home whose name has rich look up tables that it loads late."""
    return Program(checkout_copy, tmp_path / "ホーム é 👩‍👧", _pip_cache)


def test_what_it_imports_after_its_removal_is_there(odd_home):
    program = odd_home
    before = tree(program.home)
    program.run("--external-api", "--yes")
    (environment,) = program.prefix.glob("env-*")
    done = subprocess.run(
        [str(environment / "bin/python"), "-s", "-P", "-c", UNINSTALL_AND_GO_ON],
        env={**program.environ, "PYTHONPATH": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.splitlines() == [
        "error: no-such-command: no such command.",
        "  fix: See `local-opus --help`.",
    ]
    assert done.stdout.splitlines()[-1] == "Uninstalled."
    assert tree(program.home) == before

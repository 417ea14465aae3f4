"""Started from where nobody would: no HOME, no locale, no descriptors, no folder, strange modes."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from node_program import Program, tree

import hostile

CLOUD = ("--external-api", "--yes")
DRY = ("--external-api", "--dry-run")


class Bare:
    """The program in the environment that is given, and no other variable."""

    def __init__(self, checkout: Path, environ: Mapping[str, str]) -> None:
        self.environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(checkout / "src"), **environ}
        self.command = [sys.executable, "-s", "-P", "-m", "local_opus.cli"]

    def run(
        self, *words: str, shell: str = '"$@"', cwd: str | Path = "/"
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            ["/bin/sh", "-c", shell, "sh", *self.command, *words],
            env=self.environ, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        assert b"Traceback" not in done.stderr, done.stderr
        assert b"Report it" not in done.stderr, done.stderr
        return done


@pytest.fixture
def bare(checkout_copy: Path) -> Callable[..., Bare]:
    return lambda **environ: Bare(checkout_copy, environ)


@pytest.mark.parametrize("locale", ["C", "en_US.ISO-8859-1"])
@pytest.mark.parametrize("scope", ["system", "user"])
def test_without_home(bare, locale, scope, tmp_path):
    """The system scope needs none, for an image and for this machine; a user's does."""
    program = bare(LC_ALL=locale)
    done = program.run(*DRY, "--scope", scope)
    if scope == "user":
        assert done.returncode == 2
        what, remedy = done.stderr.splitlines()
        assert what == b"error: HOME: not set, so there is no place for XDG_DATA_HOME"
        assert remedy == b"  fix: Set HOME or XDG_DATA_HOME to an absolute path."
        return
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"create folder /opt/local-opus (0755)" in done.stdout
    image = hostile.make(tmp_path)
    before = hostile.snapshot(image.root)
    done = program.run(*DRY, "--scope", scope, "--root", str(image.root))
    assert (done.returncode, done.stderr) == (0, b"")
    assert hostile.snapshot(image.root) == before


CLOSED = {
    "stdin": ('"$@" <&-', DRY, 0),
    "stdout": ('"$@" >&-', DRY, 0),
    "stderr": ('"$@" 2>&-', ("nosuch",), 2),
    "all": ('"$@" <&- >&- 2>&-', DRY, 0),
    "stdin at a question": ('"$@" <&-', ("--external-api",), 2),
    "stdout of JSON": ('"$@" >&-', (*DRY, "--json"), 0),
}


@pytest.mark.parametrize(("shell", "words", "code"), CLOSED.values(), ids=CLOSED)
def test_descriptors_that_are_closed(bare, shell, words, code, tmp_path):
    done = bare(HOME=str(tmp_path)).run(*words, "--scope", "user", shell=shell) if words[0] != "nosuch" else bare().run(*words, shell=shell)  # fmt: skip
    assert done.returncode == code


def test_a_working_folder_that_was_deleted(bare, tmp_path):
    (tmp_path / "gone").mkdir()
    shell = 'rmdir "$PWD"; "$@"'
    done = bare(HOME=str(tmp_path)).run(*DRY, "--scope", "user", shell=shell, cwd=tmp_path / "gone")
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("columns", ["1", "0", "many"])
def test_a_narrow_screen(bare, columns, tmp_path):
    program = bare(HOME=str(tmp_path), COLUMNS=columns)
    said = program.run(*DRY, "--scope", "user").stdout.decode()
    assert "\n  • create folder ~/.local/share/local-opus (0755)\n" in said
    assert "smollm2-135m" in program.run("models", "list").stdout.decode()


@pytest.mark.parametrize("home", [b"caf\xe9", b"two\nlines"])
def test_a_home_that_is_no_text(bare, home, tmp_path):
    folder = os.fsencode(tmp_path) + b"/" + home
    os.mkdir(folder)
    done = bare(HOME=os.fsdecode(folder)).run(*CLOUD, "--scope", "user")
    assert done.returncode == 2
    what, remedy = done.stderr.splitlines()
    assert what.startswith(b"error: HOME: '")
    assert remedy == b"  fix: Set HOME to the path of another folder."
    assert os.listdir(folder) == []


#: Those that are met where nothing is changed yet; the others are tried without the command line.
MET = ("opt to itself", "opt a pipe", "the state out", "the receipt out", "the receipt a pipe")


@pytest.mark.parametrize(("prepare", "named"), [hostile.PLACES[name] for name in MET], ids=MET)
def test_a_dry_run_on_an_image_that_means_harm(bare, prepare, named, tmp_path):
    image = hostile.make(tmp_path)
    prepare(image)
    before = hostile.snapshot(image.root), hostile.snapshot(image.outside)
    done = bare().run(*DRY, "--root", str(image.root), "--scope", "system")
    assert done.returncode in {0, 1, 2, 4}
    if done.returncode:
        assert named is not None
        what, remedy = done.stderr.decode().splitlines()
        assert named in what
        assert remedy.startswith("  fix: ")
    assert (hostile.snapshot(image.root), hostile.snapshot(image.outside)) == before


def test_etc_that_is_a_link_to_itself(bare, tmp_path):
    image = hostile.make(tmp_path)
    shutil.rmtree(image.root / "etc")
    (image.root / "etc").symlink_to("/etc")
    before = hostile.snapshot(image.root)
    done = bare().run("--local-opus", "--model", "smollm2-135m", "--yes", "--root", str(image.root),
                      "--scope", "system")  # fmt: skip
    assert done.returncode == 1
    what, remedy = done.stderr.decode().splitlines()
    assert "/etc/group" in what
    assert "too many levels of symbolic links" in what
    assert remedy.startswith("  fix: ")
    left = {name for name in hostile.snapshot(image.root) if name not in before}
    assert all(name.startswith(hostile.STATE) for name in left)


# -- real installs, in homes of their own -------------------------------------------------------


@pytest.fixture
def program(
    checkout_copy: Path, tmp_path: Path, _pip_cache: str
) -> Iterator[Callable[[Path], Program]]:
    made: list[tuple[Program, dict[str, object]]] = []

    def make(home: Path) -> Program:
        program = Program(checkout_copy, home, _pip_cache)
        made.append((program, dict(tree(home))))
        return program

    yield make
    for one, before in made:
        one.run("uninstall", "--yes")
        assert tree(one.home) == before
        assert one.processes() == {}


def modes_below(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode)
        for path in sorted(folder.rglob("*")) if not path.is_symlink()
    }  # fmt: skip


def in_shell(program: Program, shell: str, *words: str, **extra: str) -> None:
    """Run the program behind a few words of the shell."""
    program.enter = ("/bin/sh", "-c", f'{shell}; "$@"', "sh")
    try:
        said = program.run(*words, **extra).stdout
    finally:
        program.enter = ()
    assert "Done." in said


def test_the_callers_umask_decides_nothing(program, tmp_path):
    """Neither closed to the service, nor open to others: what was planned."""
    found: list[dict[str, int]] = []
    for mask in ("077", "000"):
        one = program(tmp_path / mask)
        in_shell(one, f"umask {mask}", *CLOUD)
        found.append(modes_below(one.home))
        (environment,) = one.prefix.glob("env-*")
        wrong = {
            name: oct(mode) for name, mode in modes_below(environment).items()
            if mode & 0o022 or not mode & 0o044
        }  # fmt: skip
        assert wrong == {}
        assert stat.S_IMODE((one.state / "receipt.jsonl").stat().st_mode) == 0o600
    first, second = (
        {name: mode for name, mode in one.items() if "/env-" not in name} for one in found
    )
    assert first == second
    assert first[".local/bin"] == 0o755


STRANGE: dict[str, tuple[str, Sequence[str], Mapping[str, str]]] = {
    "a strange home, no folder for temporary files, a deleted working folder": (
        "Zoë's 家 $HOME", ("mkdir gone", "cd gone", "rmdir ../gone"),
        {"LC_ALL": "C", "TMPDIR": "/nonexistent/tmp"}),
    "closed descriptors, ignored signals, temporary files in a file": (
        "home", ("trap '' HUP INT", "exec <&- 2>&-"), {"LC_ALL": "POSIX", "TMPDIR": "/etc/passwd"}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "shell", "extra"), STRANGE.values(), ids=STRANGE)
def test_an_install_all_the_same(program, tmp_path, name, shell, extra):
    one = program(tmp_path / name)
    in_shell(one, "; ".join(shell) or ":", *CLOUD, **extra)
    installed = subprocess.run(
        [str(one.home / ".local/bin/local-opus"), "receipt"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(one.home)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert installed.returncode == 0, installed.stderr
    assert "checksums right, complete" in installed.stdout

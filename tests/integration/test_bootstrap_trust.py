"""Root runs no environment that somebody else can write, whoever calls and wherever it lies."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkout_tree import Tree, as_root

NOBODY = 65534
pytestmark = as_root


@pytest.fixture
def safe() -> Iterator[Path]:
    """A cache of root's own."""
    with tempfile.TemporaryDirectory(prefix="local-opus-safe-") as folder:
        yield Path(folder)


def give(path: Path) -> None:
    """Make all that lies there another user's."""
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(path)], check=True)


def as_nobody(*command: str) -> None:
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    subprocess.run(command, check=True, cwd="/", **user)


def trap(tree: Tree, folder: Path, made_by: Callable[..., None]) -> Path:
    """Put a program in the place of an environment's Python; return the file that it would make."""
    sprung = tree.top / "sprung"
    python = folder / "bin/python"
    text = f"#!/bin/sh\ntouch '{sprung}'\necho '{{}}'\n"
    made_by(
        "sh",
        "-c",
        f"rm -f '{python}'; printf %s \"$1\" > '{python}'; chmod 755 '{python}'",
        "sh",
        text,
    )
    return sprung


def as_root_does(*command: str) -> None:
    subprocess.run(command, check=True)


def built(tree: Tree) -> Path:
    return Path(str(tree.answer()["prefix"]))


#: What somebody else can write, and whether root makes the environment anew in its place all the
#: same. Below a folder that others can exchange it does not.
OPENED: dict[str, tuple[Callable[[Path], None], bool]] = {
    "the environment is another's": (give, True),
    "the environment is a group's": (lambda it: it.chmod(0o770), True),
    "its folder is another's": (lambda it: os.chown(it.parent, NOBODY, NOBODY), False),
    "its folder is a group's": (lambda it: it.parent.chmod(0o775), False),
    "the checkout is everybody's": (lambda it: it.parent.parent.chmod(0o777), False),
    "the folder above is another's": (
        lambda it: os.chown(it.parent.parent.parent, NOBODY, NOBODY),
        False,
    ),
}


@pytest.mark.parametrize(("opened", "anew"), OPENED.values(), ids=OPENED)
def test_an_environment_that_another_can_write(tree, safe, opened, anew):
    """Complete, of the right name, and not run; as sudo calls it."""
    folder = built(tree)
    opened(folder)
    sprung = trap(tree, folder, as_root_does)
    sudo = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY), "SUDO_USER": "nobody"}
    answer = tree.answer(XDG_CACHE_HOME=str(safe), **sudo)
    assert not sprung.exists()
    used = Path(str(answer["prefix"]))
    assert answer["version"] == "1.0"
    assert used.stat().st_uid == 0
    assert stat.S_IMODE(used.stat().st_mode) == 0o700
    assert used.is_relative_to(safe) != anew


@pytest.mark.parametrize("cache", ["another's", "below another's", "a link"])
def test_a_cache_that_another_can_write(tree, safe, cache):
    """As sudo -E, or a sudo that keeps HOME, hands it over."""
    give(tree.checkout)  # so the cache is where it looks next
    folder = tree.top / "cache"
    folder.mkdir()
    given = folder
    if cache == "another's":
        give(folder)
    elif cache == "below another's":
        given = folder / "own"
        given.mkdir()
        os.chown(folder, NOBODY, NOBODY)
    else:
        target = tree.top / "target"
        target.mkdir()
        give(target)
        folder.rmdir()
        folder.symlink_to(target)
    # The last resort of root is this machine's /var/cache: another lies over it here.
    shell = f"mount --bind '{safe}' /var/cache && exec \"$@\""
    enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", shell, "sh"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespaces here")
    done = subprocess.run(
        [*enter, tree.python, str(tree.checkout / "installer")],
        env={**tree.environ, "XDG_CACHE_HOME": str(given), "SUDO_UID": str(NOBODY)},
        cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert '"prefix": "/var/cache/local-opus/env/' in done.stdout
    assert list(given.rglob("*")) == []
    assert any(safe.iterdir())


def test_a_user_who_is_faster_than_root(tree, safe):
    """What a user builds for root to find: right in all but its owner."""
    give(tree.checkout)
    as_nobody("sh", "-c", f"mkdir -p '{tree.base}'")
    user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    as_users = Tree.__new__(Tree)
    as_users.__dict__ = {
        **tree.__dict__,
        "user": user,
        "python": shutil.which("python3", path="/usr/bin:/bin"),
    }
    probe = [as_users.python, "-c", "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"]
    if subprocess.run(probe, cwd="/", check=False, **user).returncode != 0:
        pytest.skip("no Python 3.11 here that another user can run")
    folder = Path(str(as_users.answer(HOME="/nonexistent")["prefix"]))
    assert folder.is_relative_to(tree.base)
    sprung = trap(tree, folder, as_nobody)
    tree.python = as_users.python
    answer = tree.answer(XDG_CACHE_HOME=str(safe))
    assert not sprung.exists()
    assert Path(str(answer["prefix"])).is_relative_to(safe)


def test_root_rebuilds_an_environment_that_was_opened_to_others(tree):
    first = tree.answer()
    folder = Path(str(first["prefix"]))
    (folder / "planted").touch()
    folder.chmod(0o777)
    assert tree.answer() == first
    assert not (folder / "planted").exists()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_root_leaves_nothing_in_a_users_checkout(tree):
    tree.base.mkdir()
    subprocess.run(["chown", "-R", f"{NOBODY}:{NOBODY}", str(tree.checkout)], check=True)
    with tempfile.TemporaryDirectory(prefix="local-opus-safe-") as safe:
        answer = tree.answer(XDG_CACHE_HOME=safe)
    assert Path(str(answer["prefix"])).is_relative_to(safe)
    assert [path for path in tree.checkout.rglob("*") if path.stat().st_uid == 0] == []
    assert list(tree.base.iterdir()) == []

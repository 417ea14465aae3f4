"""The commands of environments, what their failures mean, and which folders are trusted."""

from __future__ import annotations

import importlib.util
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from local_opus import bootstrap, environment
from local_opus.errors import ExitCode, LocalOpusError, MachineCannotError

NONE = "ERROR: No matching distribution found for click==8.5.1"
SAID = {
    "a colon": ("Error: Refusing to create a venv in /h:m/env because it contains the PATH separator :.",
                "/h:m/env: a colon in the path", 2),
    "space": ("OSError: [Errno 28] Kein Platz", "no space left", 4),
    "quota": ("ERROR: [Errno 122] Disk quota exceeded", "no space left", 4),
    "hash": (
        "PACKAGES DO NOT MATCH THE HASHES FROM THE FILE.\n    click==8.5.1 from x:\n        Got 1",
        "another click==8.5.1 than the one pinned",
        1,
    ),
    "certificate": (
        "SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]'))\n" + NONE,
        "certificate that this machine does not trust",
        4,
    ),
    "name": (
        'Max retries exceeded with url: /x (Caused by NameResolutionError("HTTPSConnection('
        "host='index.test', port=443): Failed to resolve\"))\n" + NONE,
        "package index at index.test can't be reached",
        4,
    ),
    "wheel": (f"(from versions: 1.0, 2.0)\n{NONE}", "no wheel of click==8.5.1 for Python 3.14", 4),
    "nothing": (f"(from versions: none)\n{NONE}", "pip reaches offers click==8.5.1", 4),
    "venv": ("No module named ensurepip", "venv and ensurepip are not installed", 4),
    "redacted": (
        "Looking in indexes: https://****@mirror.test/simple\nNewConnectionError",
        "package index at mirror.test can't be reached",
        4,
    ),
    "other": ("a\nERROR: something odd\nb", "could not be made: something odd", 1),
    "silent": ("", "could not be made", 1),
}  # fmt: skip


@pytest.mark.parametrize(("output", "what", "code"), SAID.values(), ids=SAID)
def test_failure_says_what_and_what_to_do(output, what, code, tmp_path):
    error = failed(output, tmp_path, keep=lambda: "/tmp/x.log")
    assert what in error.message
    assert error.exit_code == ExitCode(code)
    assert "\n" not in error.message + error.remedy
    assert error.remedy


def failed(output: str, folder: Path, keep: Callable[[], str]) -> LocalOpusError:
    return environment.failure(
        output, lock="requirements.lock", keep=keep, python="Python 3.14", folder=str(folder)
    )


def test_a_full_disk_is_that_of_the_environment_and_no_other_one_is_offered(tmp_path):
    error = failed(SAID["space"][0], tmp_path / "env", keep=lambda: "/elsewhere/pip.log")
    assert f"the disk of {tmp_path}/env" in error.message
    assert error.remedy == "Free about 1 GB there, and run it again"


@pytest.mark.parametrize(("output", "what", "code"), SAID.values(), ids=SAID)
def test_a_log_is_kept_only_where_the_error_names_it(output, what, code, tmp_path):
    kept = []

    def keep() -> str:
        kept.append("/tmp/pip.log")
        return kept[0]

    error = failed(output, tmp_path, keep)
    assert bool(kept) == ("/tmp/pip.log" in error.remedy)


def test_no_inodes_is_told_in_place_of_the_bytes_that_are_left(monkeypatch):
    full = os.statvfs_result((4096, 4096, 10**6, 10**6, 10**6, 100, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _folder: full)
    assert "(no inodes left)" in environment.no_space("/opt").message


def test_pip_keeps_its_configuration_less_what_redirects():
    given = {
        "PIP_INDEX_URL": "https://mirror.test/simple",
        "PIP_CERT": "/ca.pem",
        "PIP_TARGET": "/elsewhere",
        "PIP_NO_DEPS": "1",
        "https_proxy": "http://proxy.test",
        "LANG": "de_DE.UTF-8",
    }
    kept = environment.pip_environ(given, "/scratch")
    assert {name for name in given if kept.get(name) == given[name]} == {
        "PIP_INDEX_URL",
        "PIP_CERT",
        "https_proxy",
    }
    assert "PIP_TARGET" not in kept
    assert kept["TMPDIR"] == "/scratch"


def test_install_demands_hashes_and_wheels():
    command = environment.install_into_command("/other/bin/python", "x.lock")
    assert command[:2] == ["/other/bin/python", "-I"]  # no pip between: it would outlive a kill
    assert command[2].endswith("/pip/__pip-runner__.py")
    assert "--require-hashes" in command
    assert command[command.index("--only-binary") + 1] == ":all:"


@pytest.fixture
def without_pip(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pip" else find(name))  # fmt: skip


def test_an_interpreter_without_pip_takes_the_one_that_ensurepip_holds(without_pip, tmp_path):
    subprocess.run(environment.venv_command(sys.executable, str(tmp_path / "new"), with_pip=False), check=True)  # fmt: skip
    (tmp_path / "x.lock").write_text("click\n")
    command = environment.install_into_command(f"{tmp_path}/new/bin/python", f"{tmp_path}/x.lock")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "In --require-hashes mode, all requirements must" in done.stderr  # pip's words
    assert not list((tmp_path / "new").rglob("pip"))


def test_no_pip_anywhere_is_told_with_what_helps(without_pip, monkeypatch):
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(MachineCannotError, match=r"has no pip of 22\.3 or newer, and no") as caught:
        environment.install_into_command("/other/bin/python", "x.lock")
    assert "nstall" in caught.value.remedy


def test_what_points_python_elsewhere_is_dropped():
    given = {"PYTHONPATH": "/x", "PYTHONHOME": "/y", "VIRTUAL_ENV": "/z", "PATH": "/bin"}
    assert bootstrap.without_python_settings(given) == {"PATH": "/bin"}


def test_packages_are_counted_wherever_they_come_from():
    said = "Collecting a\n  Downloading a\nProcessing /wheels/b.whl\nInstalling collected packages"
    assert environment.packages_taken(said) == 2


@pytest.mark.parametrize("change", ["lock", "python", "checkout"])
def test_digest_covers(change):
    lock, python, checkout = b"click==8", "cpython-311", "/checkout"
    other = {"lock": b"click==9", "python": "cpython-312", "checkout": "/moved"}[change]
    values = {"lock": lock, "python": python, "checkout": checkout}
    assert bootstrap.digest(*values.values()) != bootstrap.digest(
        *{**values, change: other}.values()
    )


def test_checkout_comes_first_then_the_cache(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    first, second = bootstrap.places("/checkout", {"XDG_CACHE_HOME": "/cache"})
    assert first == "/checkout/.env"
    assert second.startswith("/cache/local-opus/env/")


def test_relative_cache_is_ignored(monkeypatch, home):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    _, cache = bootstrap.places("/checkout", {"XDG_CACHE_HOME": "cache"})
    assert cache.startswith(f"{os.path.realpath(home)}/.cache/local-opus/env/")


def test_root_has_a_place_of_its_own(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert bootstrap.places("/checkout", {})[-1].startswith("/var/cache/local-opus/env/")


class Tree:
    """What lstat says of some folders: (owner, mode)."""

    def __init__(self, **changes: tuple[int, int]) -> None:
        folder = stat.S_IFDIR
        self.found = {
            "/": (0, folder | 0o755),
            "/tmp": (0, folder | 0o1777),
            "/tmp/checkout": (0, folder | 0o755),
            "/tmp/checkout/.env": (0, folder | 0o755),
            **{path: (owner, mode) for path, (owner, mode) in changes.items()},
        }

    def lstat(self, path: str) -> os.stat_result:
        if path not in self.found:
            raise FileNotFoundError(path)
        owner, mode = self.found[path]
        return os.stat_result((mode, 0, 0, 1, owner, 0, 0, 0, 0, 0))


DIR = stat.S_IFDIR
TRUST = {
    "all root's": (0, {}, None),
    "of another user": (0, {"/tmp/checkout/.env": (1000, DIR | 0o755)}, "another user"),
    "in a user's checkout": (0, {"/tmp/checkout": (1000, DIR | 0o755)}, "another user"),
    "for a group": (0, {"/tmp/checkout/.env": (0, DIR | 0o775)}, "by others"),
    "for all": (0, {"/tmp/checkout/.env": (0, DIR | 0o777)}, "by others"),
    "sticky itself": (0, {"/tmp/checkout/.env": (0, DIR | 0o1777)}, "by others"),
    "parent for all": (0, {"/tmp/checkout": (0, DIR | 0o757)}, "by others"),
    "a link": (0, {"/tmp/checkout/.env": (0, stat.S_IFLNK | 0o777)}, "not a folder"),
    "a file": (0, {"/tmp/checkout/.env": (0, stat.S_IFREG | 0o644)}, "not a folder"),
    "a user's own": (1000, {"/tmp/checkout/.env": (1000, DIR | 0o775)}, None),
    "root's for a user": (1000, {}, None),
    "a user's for all": (1000, {"/tmp/checkout/.env": (1000, DIR | 0o777)}, "by others"),
    "another user's": (1000, {"/tmp/checkout/.env": (1001, DIR | 0o755)}, "another user"),
}


@pytest.mark.parametrize(("user", "changes", "reason"), TRUST.values(), ids=TRUST)
def test_trust(user, changes, reason, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "lstat", Tree(**changes).lstat)
    said = bootstrap.distrust("/tmp/checkout/.env")
    assert (said is None) if reason is None else (said is not None and reason in said)

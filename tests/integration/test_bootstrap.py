"""./installer finds or makes its environment, whatever stands in the way."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
from pathlib import Path

import pytest
from checkout_tree import Tree, as_root, start_and_reach, two_lines

NOBODY = 65534


def test_builds_once_and_uses_it_from_everywhere(tree):
    elsewhere = tree.top / "elsewhere"
    redirects = {"PIP_TARGET": str(elsewhere), "PIP_USER": "1", "PIP_DRY_RUN": "1"}
    first = tree.answer("detect", "--json", **redirects)
    assert not elsewhere.exists()
    [folder] = tree.environments()
    built = (folder / "complete").stat().st_mtime_ns
    link = tree.top / "link"
    link.symlink_to(tree.checkout / "installer")
    poison = tree.top / "poison"
    poison.mkdir()
    (poison / "tinything.py").write_text("VERSION = 'poisoned'\n")
    through_link = subprocess.run(
        [str(link), "detect"],
        env={**tree.environ, "PYTHONPATH": str(poison)},
        cwd=poison,
        capture_output=True,
        text=True,
        check=True,
    )
    second = tree.answer("detect", "--json")
    assert first == second
    assert first["argv"] == ["installer", "detect", "--json"]
    assert (first["prefix"], first["version"], first["isolated"]) == (str(folder), "1.0", 1)
    assert first["held"] == [f"{folder}.lock"]
    assert '"version": "1.0"' in through_link.stdout
    assert (folder / "complete").stat().st_mtime_ns == built
    assert not (folder / "tmp").exists()


def test_changed_lock_rebuilds_and_removes_what_nobody_uses(tree):
    old = Path(str(tree.answer()["prefix"]))
    used = old.with_name(old.name.rpartition("-")[0] + "-0123456789abcdef")
    foreign = old.with_name("test-cpython-300-0123456789abcdef")
    for folder in (used, foreign):
        folder.mkdir()
    tree.lock("2.0")
    with open(f"{used}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        answer = tree.answer()
    assert answer["version"] == "2.0"
    assert sorted(path for path in tree.base.iterdir() if path.is_dir()) == sorted(
        [used, foreign, Path(str(answer["prefix"]))]
    )
    assert not Path(f"{old}.lock").exists()


def test_two_at_once_build_one(tree):
    first, second = tree.start(), tree.start()
    results = [child.communicate(timeout=120) for child in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], results
    said = [err for _, err in results if err]
    assert said == ["Another run is setting up the environment; waiting for it ...\n"]
    assert results[0][0] == results[1][0]


def test_killed_half_way_starts_again(tree, silent):
    with start_and_reach(tree, silent) as child:
        child.kill()
    [half] = tree.environments()
    assert not (half / "complete").exists()
    (half / "left-over").touch()
    assert tree.answer()["version"] == "1.0"  # and says nothing of waiting: pip died too
    assert not (half / "left-over").exists()


def test_wrong_hash_is_refused(tree):
    lock = tree.checkout / "requirements-openvino.lock"
    lock.write_text(f"tinything==1.0 --hash=sha256:{'0' * 64}\n")
    done = tree.run()
    what, remedy = two_lines(done)
    assert done.returncode == 1
    assert "requirements-openvino.lock" in what
    assert "tinything" in what
    assert ".log" in remedy
    assert tree.environments() == []


def test_no_network_names_the_host(tree):
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    done = tree.run(
        PIP_NO_INDEX="",
        PIP_FIND_LINKS="",
        PIP_INDEX_URL=f"http://127.0.0.1:{closed}/simple",
        PIP_RETRIES="1",
    )
    what, remedy = two_lines(done)
    assert done.returncode == 4
    assert "127.0.0.1" in what
    assert "PIP_INDEX_URL" in remedy
    log = remedy.rpartition(": ")[2]
    assert "NewConnectionError" in Path(log).read_text()


@pytest.mark.parametrize("module", ["ensurepip", "venv"])
def test_python_without_venv(tree, module):
    site = tree.top / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(f"import sys\nsys.modules[{module!r}] = None\n")
    done = tree.run(PYTHONPATH=str(site))
    what, remedy = two_lines(done)
    assert done.returncode == 4
    assert "ensurepip" in what
    assert "nstall" in remedy
    assert tree.environments() == []


def test_python_too_old(tree):
    site = tree.top / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 10, 9)\n")
    done = tree.run(PYTHONPATH=str(site))
    what, remedy = two_lines(done)
    assert done.returncode == 4
    assert "is Python 3.10.9; this program needs Python 3.11 or newer" in what
    assert "newer Python" in remedy
    assert not tree.base.exists()


def test_checkout_without_its_lock(tree):
    (tree.checkout / "requirements-openvino.lock").unlink()
    done = tree.run()
    assert done.returncode == 2
    assert "requirements-openvino.lock" in two_lines(done)[0]


@as_root
def test_full_disk(tree):
    tree.base.mkdir()
    mount = f"mount -t tmpfs -o size=32k,mode=755 none '{tree.base}' && exec \"$@\""
    command = ["unshare", "--mount", "sh", "-c", mount, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no mount namespaces here")
    done = subprocess.run(
        [*command, tree.python, str(tree.checkout / "installer")],
        env=tree.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    what, remedy = two_lines(done)
    assert done.returncode == 4
    assert what.startswith("no space left on the disk of ")
    assert "Free about 1 GB there, or move the checkout" in remedy  # the cache comes after it


def other_user(tree: Tree) -> None:
    """Make the tree run as a user that can only read the checkout."""
    if os.geteuid() != 0:
        subprocess.run(["chmod", "-R", "a-w", str(tree.checkout)], check=True)
        return
    tree.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    for python in (tree.python, "/usr/bin/python3"):
        probe = [python, "-c", "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"]
        try:
            if subprocess.run(probe, **tree.user, cwd="/", check=False).returncode == 0:
                tree.python = python
                return
        except OSError:
            continue
    pytest.skip("no Python 3.11 here that another user can run")


def test_read_only_checkout_uses_the_cache(tree):
    other_user(tree)
    cache = tree.top / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    own = cache / "own"
    subprocess.run(["mkdir", "-m", "700", str(own)], check=True, **tree.user)
    answer = tree.answer(XDG_CACHE_HOME=str(own))
    assert Path(str(answer["prefix"])).is_relative_to(own / "local-opus" / "env")
    assert not tree.base.exists()


def test_read_only_checkout_and_no_cache(tree):
    other_user(tree)
    done = tree.run(HOME="/proc/nowhere")
    what, remedy = two_lines(done)
    assert done.returncode == 4
    assert str(tree.base.parent) in what
    assert "/proc/nowhere" in what
    assert "XDG_CACHE_HOME" in remedy

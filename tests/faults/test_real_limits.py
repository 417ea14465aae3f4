"""Real limits of real file systems: full, out of inodes, read-only, immutable.

Each case runs the real command line in a process of its own, in a mount namespace of its own; what
it mounts there ends with it. Only root can; others skip these.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
#: Runs there: mounts what the case says, then installs, frees the place, installs again.
_PROGRAM = """
import json, subprocess, sys
from pathlib import Path
given = json.loads(sys.argv[1])
sys.path[:0] = given["path"]
import operations, trees, worlds

place = operations.fresh(worlds.VARIANTS[given["variant"]], Path(given["folder"]) / "machine")
root = place.root

def sh(script):
    subprocess.run(["sh", "-ec", script], check=True, cwd=root, stdin=subprocess.DEVNULL)

sh(given["prepare"])
found = []
for script in (given["obstacle"], given["remove"]):
    sh(script)
    before = trees.read(root, worlds.left_out)
    ended = operations.run(place, "install")
    after = trees.read(root, worlds.left_out)
    found.append({
        "code": ended.code, "err": ended.err, "pending": ended.pending,
        "changed": trees.difference(before, after, set(before) & set(after)),
    })
print(json.dumps(found))
"""
SYSTEM, USER = 7, 8  # military: no model, so that what is written is small
STATE = "/var/lib/local-opus"


def run(folder: Path, variant: int, prepare: str, obstacle: str, remove: str) -> list[dict[str, object]]:  # fmt: skip
    given = {
        "path": [str(TESTS / "faults"), str(TESTS), str(TESTS.parent / "src")],
        "variant": variant, "folder": str(folder), "prepare": prepare, "obstacle": obstacle,
        "remove": remove,
    }  # fmt: skip
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", _PROGRAM, json.dumps(given)],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(autouse=True)
def _can_mount() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    done = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.strip()}")


#: What is mounted or set; what stands in its way; how that goes; exit code; words of the error.
CASES = {
    "full /opt": (
        SYSTEM, "mount -t tmpfs -o size=16k,mode=755 none opt", "true",
        "mount -o remount,size=10m opt", 4, ["/opt/local-opus", "no space left"],
    ),
    "no inodes in /opt": (
        SYSTEM, "mount -t tmpfs -o size=1m,nr_inodes=6,mode=755 none opt", "true",
        "mount -o remount,nr_inodes=1000 opt", 4, ["/opt/local-opus", "no space left"],
    ),
    "full /var/lib": (
        SYSTEM, "mount -t tmpfs -o size=8k,mode=755 none var/lib", "head -c 8192 /dev/zero > var/lib/big",
        "rm var/lib/big; mount -o remount,size=10m var/lib", 4, [STATE, "no space left"],
    ),
    "no inodes in /var/lib": (
        SYSTEM, "mount -t tmpfs -o size=1m,nr_inodes=3,mode=755 none var/lib", "true",
        "mount -o remount,nr_inodes=1000 var/lib", 4, [STATE, "no space left"],
    ),
    "read-only /usr/local/bin": (
        SYSTEM, "mount --bind usr/local/bin usr/local/bin", "mount -o remount,bind,ro usr/local/bin",
        "mount -o remount,bind,rw usr/local/bin", 1, ["/usr/local/bin", "read-only file system"],
    ),
    "read-only /var/lib": (
        SYSTEM, "mount -t tmpfs -o size=1m,mode=755 none var/lib", "mount -o remount,ro var/lib",
        "mount -o remount,rw var/lib", 1, [STATE, "read-only file system"],
    ),
    "read-only home": (
        USER, "mount --bind home home", "mount -o remount,bind,ro home",
        "mount -o remount,bind,rw home", 1, ["/home/user/.local", "read-only file system"],
    ),
    "immutable /opt/local-opus": (
        SYSTEM, "mkdir opt/local-opus", "chattr +i opt/local-opus || exit 77",
        "chattr -i opt/local-opus", 1, ["/opt/local-opus", "not permitted"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_is_told_undone_and_done_when_the_obstacle_is_gone(name, tmp_path):
    variant, prepare, obstacle, remove, code, said = CASES[name]
    if name.startswith("immutable") and not _immutable_here(tmp_path):
        pytest.skip("this file system has no immutable files")
    failed, again = run(tmp_path, variant, prepare, obstacle, remove)
    assert failed["code"] == code
    what, *_, remedy = str(failed["err"]).splitlines()
    assert all(word in what.lower() for word in said), what
    assert remedy.startswith("  fix: ")
    assert "Report it" not in remedy
    assert [line for line in failed["changed"] if not _is_receipt(line)] == []
    assert (again["code"], again["pending"]) == (0, []), again


def _is_receipt(line: str) -> bool:
    """The receipt of the failed run stays: the next one goes on from it."""
    path = line.partition(": ")[0]
    parts = ("/local-opus", "/local-opus/lock", "/local-opus/receipt.jsonl", "/local-opus/receipt.head")  # fmt: skip
    state = path.removeprefix("/var/lib").removeprefix("/home/user/.local/state")
    return state in parts


def _immutable_here(folder: Path) -> bool:
    probe = folder / "probe"
    probe.mkdir()
    done = subprocess.run(["chattr", "+i", str(probe)], capture_output=True, check=False)
    subprocess.run(["chattr", "-i", str(probe)], capture_output=True, check=False)
    return done.returncode == 0


def test_a_read_only_etc_stops_the_server_s_config(tmp_path):
    """With a model: what was fetched and proven stays in the store, the rest is taken back."""
    failed, again = run(
        tmp_path, 0, "mount --bind etc/local-opus etc/local-opus",
        "mount -o remount,bind,ro etc/local-opus", "mount -o remount,bind,rw etc/local-opus",
    )  # fmt: skip
    assert failed["code"] == 1
    what = str(failed["err"]).splitlines()[0]
    assert "/etc/local-opus" in what
    assert "read-only file system" in what
    left = ("/var/lib/local-opus", "/etc/group: ")  # the store; and groupadd writes its file anew
    assert [line for line in failed["changed"] if not line.startswith(left)] == []
    assert (again["code"], again["pending"]) == (0, []), again

"""All of a machine, before and after: what was left behind, and what was taken away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fnmatch import fnmatchcase

from machine import Machine

#: Runs there. Times are left out: a folder's changes with every file that comes and goes.
_LIST = """
import hashlib, json, os, stat, sys
found = {}
for top in sorted(os.listdir("/")):
    if top in set(sys.argv[1:]):
        continue
    for folder, folders, files in os.walk("/" + top):
        for path in [folder] + [os.path.join(folder, name) for name in files + folders]:
            is_ = os.lstat(path)
            what = ""
            if stat.S_ISREG(is_.st_mode):
                with open(path, "rb") as stream:
                    what = hashlib.file_digest(stream, "sha256").hexdigest()
            elif stat.S_ISLNK(is_.st_mode):
                what = os.readlink(path)
            found[path] = f"{stat.filemode(is_.st_mode)} {is_.st_uid}:{is_.st_gid} {what}"
json.dump(found, sys.stdout)
"""
#: The kernel's and the running system's, which no install writes to; and what the lab put there.
_NOT_ON_DISK = ("proc", "sys", "dev", "run", "tmp", "wheelhouse")

#: What a unit's line begins with, beside the paths of a tree.
_UNIT = "unit "

#: What a machine changes by itself while tests run on it, whoever installs there.
MACHINES_OWN = {
    "/var/log/journal": "systemd's log, which tells what happened",
    "/var/log/journal/*": "the same",
    "/var/log/[bw]tmp": "the log of boots and logins",
    "/var/lib/systemd/*": "systemd's own: random seed, time stamps of timers",
    "/var/tmp/systemd-private-*-systemd-logind.service-*": "another service's, new at each boot",
    f"{_UNIT}run-*": "the tests' own: each command is run as a unit",
    f"{_UNIT}e2e-run-*": "the same",
}

Tree = dict[str, str]


def tree(machine: Machine) -> Tree:
    """Return every path of the machine's disk with its type, mode, owner and content."""
    done = machine.run("python3", "-I", "-c", _LIST, *_NOT_ON_DISK, timeout=120)
    assert done.code == 0, done
    found: Tree = json.loads(done.out)
    return found


def snapshot(machine: Machine) -> Tree:
    """Return the tree, and every unit file that systemd knows with its state and its preset."""
    done = machine.run("systemctl", "list-unit-files", "--plain", "--no-legend", "--no-pager")
    assert done.code == 0, done
    lines = (line.split(maxsplit=1) for line in done.out.splitlines())
    return tree(machine) | {f"{_UNIT}{name}": state.strip() for name, state in lines}


def difference(before: Tree, after: Tree, left_out: Mapping[str, str]) -> list[str]:
    """Return what differs, one line a path; ``left_out`` maps patterns of paths to reasons."""
    lines = []
    for path in sorted(before.keys() | after.keys()):
        if before.get(path) == after.get(path):
            continue
        if not any(fnmatchcase(path, pattern) for pattern in left_out):
            lines.append(f"{path}: {before.get(path, 'absent')} -> {after.get(path, 'absent')}")
    return lines

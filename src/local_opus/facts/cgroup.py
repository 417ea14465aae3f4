"""Where the cgroups of this process keep their limits: version 1, version 2 and both at once.

A limit holds for all below it, so the own cgroup and each of its parents counts. Formats:
/proc/self/cgroup in cgroups(7), /proc/self/mountinfo in proc_pid_mountinfo(5).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from local_opus.facts import reading
from local_opus.host import Host

#: Levels of nested cgroups that are followed; Kubernetes makes five.
_MAX_DEPTH = 32
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Folder:
    """One cgroup's folder in the file tree."""

    version: Literal[1, 2]
    path: str


def folders(cgroup: str | None, mountinfo: str | None, controller: str) -> tuple[Folder, ...]:
    """Return the folders of a controller's cgroups, the process's own first, then its parents.

    Parents outside of a container's mount can't be seen and are left out.
    """
    own_v1, own_v2 = _own_paths(cgroup or "", controller)
    found: list[Folder] = []
    for line in (mountinfo or "").splitlines():
        mount = _mount(line)
        if mount is None:
            continue
        kind, root, point, options = mount
        if kind == "cgroup2" and own_v2 is not None:
            found += [Folder(2, path) for path in _levels(own_v2, root, point)]
        elif kind == "cgroup" and own_v1 is not None and controller in options:
            found += [Folder(1, path) for path in _levels(own_v1, root, point)]
    return tuple(dict.fromkeys(found))


def read_folders(host: Host, controller: str) -> tuple[Folder, ...]:
    """Return the folders of a controller's cgroups of this process."""
    return folders(
        reading.text(host, "/proc/self/cgroup"),
        reading.text(host, "/proc/self/mountinfo"),
        controller,
    )


def _own_paths(cgroup: str, controller: str) -> tuple[str | None, str | None]:
    own_v1 = own_v2 = None
    for line in cgroup.splitlines():
        number, _, rest = line.partition(":")
        controllers, colon, path = rest.partition(":")
        if not colon or not path.startswith("/"):
            continue
        if number == "0" and not controllers:
            own_v2 = path
        elif controller in controllers.split(","):
            own_v1 = path
    return own_v1, own_v2


def _mount(line: str) -> tuple[str, str, str, list[str]] | None:
    before, dash, after = line.partition(" - ")
    fields, tail = before.split(" "), after.split(" ")
    if not dash or len(fields) < 6 or len(tail) < 3:  # noqa: PLR2004 - proc_pid_mountinfo(5)
        return None
    return tail[0], _unescape(fields[3]), _unescape(fields[4]), tail[2].split(",")


def _unescape(path: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), path)


def _levels(own: str, root: str, point: str) -> list[str]:
    inside = own.removeprefix(root.rstrip("/"))
    seen = own == root or own.startswith(root.rstrip("/") + "/")
    parts = [part for part in inside.split("/") if part] if seen else []
    if ".." in parts:  # a cgroup outside of this namespace: only the mount itself is visible
        parts = []
    parts = parts[:_MAX_DEPTH]
    return ["/".join([point.rstrip("/"), *parts[:depth]]) for depth in range(len(parts), -1, -1)]

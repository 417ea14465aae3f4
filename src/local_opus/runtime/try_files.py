"""Tries of the sandbox probe: which files it can write and read, which devices it can open."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from local_opus.locations import Locations
from local_opus.runtime.tries import Tried, Try, allowed, name_of, refused, untold
from local_opus.values.sandbox import ProbeKind

#: A setting of the kernel and one of a driver, opened and closed again without a write.
_SYSCTL = "/proc/sys/vm/swappiness"
_SYSFS = "/sys/kernel/mm/transparent_hugepage/enabled"
#: What DevicePolicy=closed leaves open by itself (systemd.resource-control(5)).
_STANDARD = {"null", "zero", "full", "random", "urandom", "tty", "ptmx"}
_MEMORY = {"mem", "kmem", "port"}
#: File systems of their own below /dev.
_NO_NODES = {"/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/hugepages"}  # noqa: S108 - names of mounts
_MOST_NODES = 10_000
_FALLBACK = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
_SHOWN = 6


@dataclass(frozen=True)
class Places:
    """What the server knows of its own paths; None: it has no such."""

    install: Locations
    weights: str
    state: str | None
    cache: str | None
    home: str | None
    device: str


def writes(places: Places) -> Iterator[Try]:
    """Yield the tries to write."""
    install = places.install
    strict = "ProtectSystem=strict"
    closed: list[tuple[str, str, str]] = [
        ("etc", "/etc", strict),
        ("usr", "/usr", strict),
        ("boot", "/boot", strict),
        ("program", install.prefix, strict),
        ("config", install.config, strict),
        ("receipt", install.state, strict),
        ("units", install.units, strict),
        ("weights", places.weights, strict),
    ]
    if places.home is not None and places.home not in {places.state, places.cache}:
        closed.append(("home", places.home, "ProtectHome=yes"))
    for name, path, directive in closed:
        yield _write(f"write-{name}", path, directive, expected=False)
    for name, own in (("state", places.state), ("cache", places.cache)):
        if own is not None:
            yield _write(f"write-{name}", own, "", expected=True)
    yield _write("write-tmp", "/tmp", "", expected=True)  # noqa: S108 - the question itself
    yield _write("write-shm", "/dev/shm", "", expected=None)  # noqa: S108 - as above
    for name, path, directive in (
        ("sysctl", _SYSCTL, "ProtectKernelTunables=yes"),
        ("sysfs", _SYSFS, "ProtectKernelTunables=yes"),
        ("cgroup", _own_cgroup(), "ProtectControlGroups=yes"),
    ):
        yield Try(
            f"write-{name}", ProbeKind.WRITE, path, directive, partial(_open, path, os.O_WRONLY)
        )


def _write(name: str, path: str, directive: str, *, expected: bool | None) -> Try:
    return Try(name, ProbeKind.WRITE, path, directive, partial(_write_into, path), expected)


def _write_into(folder: str) -> Tried:
    """Make a file without a name in a folder: it is gone with its descriptor, and nobody saw it."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        if error.errno not in _FALLBACK:
            raise
        # A file system without nameless files: the kernel's own word (faccessat(2)).
        may = os.access(folder, os.W_OK | os.X_OK)
        return Tried(
            may, f"{name_of(error.errno or 0)}, and access(2) says {'yes' if may else 'no'}"
        )
    return allowed("a file without a name was made and dropped")


def _own_cgroup() -> str:
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except OSError:
        lines = []
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "")
    return f"/sys/fs/cgroup{own.rstrip('/')}/cgroup.procs"


def reads(places: Places) -> Iterator[Try]:
    """Yield the tries to read what is none of a server's business."""
    own = _own(places)
    for name, path in (("home", "/home"), ("root", "/root"), ("run-user", "/run/user")):
        look = partial(_list, path, own)
        yield Try(f"read-{name}", ProbeKind.READ, path, "ProtectHome=yes", look)
    for name, path in (("receipt", places.install.receipt), ("shadow", "/etc/shadow")):
        yield Try(f"read-{name}", ProbeKind.READ, path, "DynamicUser=yes",
                  partial(_open, path, os.O_RDONLY))  # fmt: skip
    yield Try("read-processes", ProbeKind.READ, "processes of others", "ProtectProc=invisible",
              _others)  # fmt: skip
    yield Try("read-tmp", ProbeKind.READ, "the machine's /tmp", "PrivateTmp=yes", _own_tmp)


def _open(path: str, how: int) -> Tried:
    """Open a file and close it: nothing is read or written."""
    os.close(os.open(path, how | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW))
    return allowed("opened, and closed")


def _own(places: Places) -> frozenset[str]:
    """Name what a user's unit is shown of a home that is hidden from it: what it runs from."""
    install = places.install
    notify = f"/run/user/{os.geteuid()}/systemd/notify"
    shown = (install.prefix, install.models, install.config, places.state, places.cache)
    return frozenset(one for one in (*shown, sys.base_prefix, notify) if one)


def _list(path: str, own: frozenset[str]) -> Tried:
    names = os.listdir(path)
    if not names:  # ProtectHome=tmpfs leaves an empty folder in its place
        return refused("empty")
    count = _others_of(path, names, own)
    return allowed(f"{count} names") if count else refused("its own paths alone")


def _others_of(folder: str, names: list[str], own: frozenset[str]) -> int:
    """Count the names that neither are one's own nor lead to it."""
    count = 0
    for path in (f"{folder}/{name}" for name in names):
        if path in own:
            continue
        if any(one.startswith(f"{path}/") for one in own):
            with suppress(OSError):  # closed, or no folder: then nothing is seen of it
                count += _others_of(path, os.listdir(path), own)
        else:
            count += 1
    return count


def _others() -> Tried:
    me, seen = os.geteuid(), 0
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                seen += os.stat(f"/proc/{name}").st_uid != me
            except FileNotFoundError:  # it has ended
                continue
    return allowed(f"{seen} are visible") if seen else refused("none is visible")


def _own_tmp() -> Tried:
    with open("/proc/self/mountinfo", encoding="utf-8") as stream:
        mounts = [line.split() for line in stream]
    roots = [words[3] for words in mounts if words[4] == "/tmp"]  # noqa: S108 - a mount's name
    if roots and "systemd-private-" in roots[-1]:
        return refused("it has a /tmp of its own")
    if roots and roots[-1] == "/":
        return untold("a file system of its own or the machine's: it does not say")
    return allowed("no /tmp of its own")


def opens(places: Places) -> Iterator[Try]:
    """Yield the tries to open devices.

    Only asked for with access(2), for which the kernel asks the devices' control group too: to
    open a watchdog's node starts it, a tape's winds it back.
    """
    groups: dict[str, list[str]] = {"disks": [], "memory": [], "kmsg": [], "kvm": [], "others": []}
    accelerators: list[str] = []
    for path, mode in _nodes():
        name = path.removeprefix("/dev/")
        if name.startswith(("dri/", "accel/")):
            accelerators.append(path)
        elif name in _STANDARD:
            continue
        elif stat.S_ISBLK(mode):
            groups["disks"].append(path)
        elif name in _MEMORY:
            groups["memory"].append(path)
        else:
            groups[name if name in groups else "others"].append(path)
    kind = places.device.partition(".")[0]
    for path in accelerators:
        needed = (kind == "GPU" and "/renderD" in path) or (kind == "NPU" and "/accel/" in path)
        yield Try(f"open-{path.rpartition('/')[2]}", ProbeKind.OPEN, path, "",
                  partial(_ask, [path]), needed or None)  # fmt: skip
    words = {
        "disks": "disks", "memory": "the machine's memory", "kmsg": "/dev/kmsg", "kvm": "/dev/kvm",
        "others": "other devices",
    }  # fmt: skip
    for name, paths in groups.items():
        yield Try(f"open-{name}", ProbeKind.OPEN, words[name], "DevicePolicy=closed",
                  partial(_ask, paths))  # fmt: skip


def _nodes() -> Iterator[tuple[str, int]]:
    count = 0
    for folder, below, names in os.walk("/dev"):
        below[:] = [name for name in below if f"{folder}/{name}" not in _NO_NODES]
        for name in names:
            path = f"{folder}/{name}"
            try:
                mode = os.lstat(path).st_mode
            except OSError:  # gone, or in a folder that is closed
                continue
            count += 1
            if count > _MOST_NODES:
                return
            if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                yield path, mode


def _ask(paths: list[str]) -> Tried:
    if not paths:
        return untold("there is none")
    opened = [path for path in paths if _can_open(path)]
    if not opened:
        return refused(f"none of {len(paths)}" if len(paths) > 1 else "refused")
    more = f" and {len(opened) - _SHOWN} more" if len(opened) > _SHOWN else ""
    return allowed(f"{', '.join(opened[:_SHOWN])}{more}")


def _can_open(path: str) -> bool:
    if os.statvfs(path).f_flag & os.ST_NODEV:
        return False
    return any(os.access(path, wanted) for wanted in (os.R_OK, os.W_OK))


def request_path(request: Mapping[str, object], name: str) -> str | None:
    """Return a path of the server's request; None: it gave none."""
    value = request.get(name)
    return value if isinstance(value, str) and value.startswith("/") else None

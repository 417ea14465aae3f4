"""The kernel's view of the server's process from outside, and where the server says otherwise."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from local_opus.host import Host
from local_opus.values.sandbox import ProbeKind, ProcessView, SandboxReport

#: The errno's name in the evidence of a write that a read-only mount refused.
_READ_ONLY = "EROFS"
_KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")


@dataclass(frozen=True)
class Outside:
    """What this program may read of the process; None or empty: it is closed to this user."""

    view: ProcessView
    interfaces: tuple[str, ...] | None
    #: Mount points and whether each is read-only, in the order in which they were made.
    mounts: tuple[tuple[str, bool], ...]
    #: Whether it shares this program's network; None: not told.
    shares_network: bool | None


def look(host: Host, pid: int) -> Outside | None:
    """Return the kernel's view of a process; None where it has ended or /proc hides it."""
    folder = f"/proc/{pid}"
    try:
        status = host.files.read_text(f"{folder}/status")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    links = {}
    for kind in _KINDS:
        with suppress(OSError):
            links[kind] = host.files.read_link(f"{folder}/ns/{kind}")
    own = None
    with suppress(OSError):
        own = host.files.read_link(f"/proc/{host.pid}/ns/net")
    view = ProcessView.read("server", pid, status, _read(host, f"{folder}/uid_map"), links)
    shares = None if own is None or "net" not in links else own == links["net"]
    return Outside(view, _interfaces(host, folder), _mounts(host, folder), shares)


def _read(host: Host, path: str) -> str | None:
    try:
        return host.files.read_text(path)
    except OSError:
        return None


def _interfaces(host: Host, folder: str) -> tuple[str, ...] | None:
    text = _read(host, f"{folder}/net/dev")
    if text is None:
        return None
    return tuple(sorted(line.partition(":")[0].strip() for line in text.splitlines()[2:]))


def _mounts(host: Host, folder: str) -> tuple[tuple[str, bool], ...]:
    """Return the mounts of proc_pid_mountinfo(5): the fifth field, and "ro" of the sixth."""
    words = [line.split() for line in (_read(host, f"{folder}/mountinfo") or "").splitlines()]
    return tuple(
        (_unescaped(line[4]), "ro" in line[5].split(","))
        for line in words
        if len(line) > 5  # noqa: PLR2004
    )


def _unescaped(path: str) -> str:
    for code, letter in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, letter)
    return path


def contradictions(inside: SandboxReport, outside: Outside) -> tuple[str, ...]:
    """Return each point on which the server says other than the kernel; what is closed is none."""
    said = next((view for view in inside.processes if view.name == "server"), None)
    if said is None:
        return ("the server says nothing of its own process",)
    seen = outside.view
    points = [
        ("PID", said.pid, seen.pid),
        ("Seccomp", said.seccomp, seen.seccomp),
        ("Seccomp_filters", said.seccomp_filters, seen.seccomp_filters),
        ("NoNewPrivs", said.no_new_privs, seen.no_new_privs),
        ("CapEff", said.cap_eff, seen.cap_eff),
        ("CapBnd", said.cap_bnd, seen.cap_bnd),
        *(
            (f"namespace {kind}", said.namespaces.get(kind), link)
            for kind, link in seen.namespaces.items()
        ),
        ("network interfaces", inside.interfaces, outside.interfaces),
    ]
    found = [
        f"{name}: the server says {_shown(ours)}, the kernel says {_shown(theirs)}"
        for name, ours, theirs in points
        if ours is not None and theirs is not None and ours != theirs
    ]
    return (*found, *_wrong_mounts(inside, outside))


def _wrong_mounts(inside: SandboxReport, outside: Outside) -> list[str]:
    """A write that a read-only mount refused, where the kernel has that mount writable."""
    found = []
    for probe in inside.probes:
        if probe.kind is ProbeKind.WRITE and probe.evidence == _READ_ONLY:
            over = [
                (place, closed)
                for place, closed in outside.mounts
                if place == "/" or f"{probe.tried}/".startswith(f"{place.rstrip('/')}/")
            ]
            # The longest counts, and of the same the last.
            place, closed = max(reversed(over), key=lambda one: len(one[0]), default=("", True))
            if not closed:
                found.append(
                    f"{probe.tried}: the server says it is read-only, the kernel has {place} "
                    "writable"
                )
    return found


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)

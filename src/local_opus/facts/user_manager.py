"""What the user's systemd enforces: measured by transient units, whatever its version says.

Systemd ignores in units of a user what it lacks the rights for, and says nothing of it; or the unit
does not start. With a user namespace of its own it has the rights, where the kernel, AppArmor and
the container that this may be allow one.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from local_opus import interpreter
from local_opus.errors import LocalOpusError
from local_opus.facts import reading
from local_opus.host import Host
from local_opus.planner.user_sandbox import seen_inside
from local_opus.runtime import enforced
from local_opus.values import Scope
from local_opus.values.user_manager import FILTERS, PRIVILEGED, SYSTEM_ONLY, UserManager

#: Seconds for one transient unit; it took 0.1 on a machine of 2 cores.
_TIMEOUT = 15.0
_NAMESPACES = ("mnt", "net", "user", "uts", "ipc")
#: The devices that the probe's own interpreter opens.
_DEVICES = ("/dev/null rw", "/dev/urandom r")
#: A refused call is to be seen, not to end the program.
_ALWAYS = ("NotifyAccess=all", "SystemCallErrorNumber=EPERM")
#: What kept units from starting in containers that have no /dev/kmsg (measured, systemd 252).
_SUSPECT = "ProtectKernelLogs"


@dataclass(frozen=True)
class Raw:
    """The version, and what the last unit printed (None: none came to its end), or why not."""

    version: str
    printed: str | None
    #: The directives that the last unit had.
    tried: tuple[str, ...] = ()
    problem: str | None = None


def version(host: Host) -> str | None:
    """Return the version of the user's systemd; None where none answers."""
    try:
        shown = host.processes.run(
            ["systemctl", "--user", "show", "--property=Version", "--value"], timeout=_TIMEOUT
        )
    except LocalOpusError:
        return None
    return reading.one_line(shown.out) if shown.code == 0 else None


def read(host: Host) -> Raw | None:
    """Ask the user's systemd; None where none answers. Takes some transient units."""
    if (said := version(host)) is None:
        return None
    try:
        return _measure(host, said)
    except LocalOpusError as error:
        return Raw(said, None, problem=error.message)


def _measure(host: Host, said: str) -> Raw:
    for tried in _attempts(host):
        if (printed := _run(host, tried)) is not None:
            return Raw(said, printed, tuple(tried))
    return Raw(said, None, problem="no transient unit of this user's systemd came to its end")


def _attempts(host: Host) -> Iterator[Mapping[str, str]]:
    """Yield sets of directives to try together, the tightest first."""
    everything = {**FILTERS, **PRIVILEGED}
    yield everything
    yield {name: value for name, value in everything.items() if name != _SUSPECT}
    # Which of them keep a unit from starting is seen with each alone.
    users = {"PrivateUsers": PRIVILEGED["PrivateUsers"]}
    base = {**FILTERS, **users} if _run(host, {**FILTERS, **users}) is not None else {**FILTERS}
    alone = [{**base, name: value} for name, value in PRIVILEGED.items() if name not in base]
    starts = [one for one in alone if _run(host, one) is not None]
    yield {name: value for one in (base, *starts) for name, value in one.items()}
    yield base
    yield FILTERS


def _run(host: Host, directives: Mapping[str, str]) -> str | None:
    """Return what the program printed in a unit with these directives; None: it did not start."""
    home = host.environ.get("HOME", "/")
    python = interpreter.choose(host, Scope.USER).path
    more = [f"DeviceAllow={one}" for one in _DEVICES] if "DevicePolicy" in directives else []
    if "ProtectHome" in directives:
        more += [f"BindReadOnlyPaths={path}" for path in seen_inside(python)]
        more.append(f"BindReadOnlyPaths={notify_socket(host.environ)}")
        more.append("TemporaryFileSystem=/home:ro /root:ro /run/user:ro")
    if "PrivateMounts" in directives:
        more.append("InaccessiblePaths=-/run/dbus -/run/systemd/resolve")
    outside = {
        "namespaces": {kind: host.files.read_link(f"/proc/self/ns/{kind}") for kind in _NAMESPACES},
        "folders": {path: _identity(host, path) for path in (home, "/tmp", "/dev")},  # noqa: S108
        "home": home,
        "tasks": int(PRIVILEGED["TasksMax"]),
    }
    properties = [*(f"{name}={value}" for name, value in directives.items()), *more]
    done = host.processes.run(
        [
            *("systemd-run", "--user", "--quiet", "--wait", "--pipe", "--collect"),
            "--description=Local Opus: what this systemd enforces",
            *(f"--property={one}" for one in (*_ALWAYS, *properties)),
            *("--", python, "-I", "-S", "-", json.dumps(outside)),
        ],
        timeout=_TIMEOUT,
        input=inspect.getsource(enforced).encode(),
    )
    return done.out if done.code == 0 else None


def notify_socket(environ: Mapping[str, str]) -> str:
    """Return where the user's systemd hears that a service is ready, below what is hidden."""
    return f"{environ.get('XDG_RUNTIME_DIR', '').rstrip('/')}/systemd/notify"


def _identity(host: Host, path: str) -> list[int] | None:
    found = host.files.stat(path, follow=True)
    return None if found is None else [found.device, found.inode]


def parse(raw: Raw) -> UserManager:
    """Return which directives take effect; what was not tried, or can't be read, does not."""
    if raw.printed is None:
        return UserManager(version=raw.version, problem=raw.problem)
    try:
        said = json.loads(raw.printed)
        effects = {name: said[name] is True for name in (*FILTERS, *PRIVILEGED, "notify")}
    except (ValueError, TypeError, KeyError):
        return UserManager(version=raw.version, problem="the probe's answer can't be read")
    known = (*FILTERS, *PRIVILEGED)
    return UserManager(
        version=raw.version,
        enforced=tuple(name for name in known if name in raw.tried and effects[name]),
        # One that no unit starts with may have its effect by the others.
        not_enforced=(*(name for name in known if not effects[name]), *SYSTEM_ONLY),
        sandboxed=effects["notify"],
    )

"""The parts of the posture that a node's units and processes have: variables, and no way out."""

from __future__ import annotations

from collections.abc import Mapping

from local_opus import node
from local_opus.actions.install_unit import InstallUnit
from local_opus.errors import LocalOpusError
from local_opus.history import History
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.posture.part import Part, State
from local_opus.sandbox import drop_ins
from local_opus.values import Scope
from local_opus.values.posture import NAME, VARIABLES

#: The properties of each service, by its name.
Units = Mapping[str, Mapping[str, str]]
#: What systemd makes of IPAddressDeny=any and IPAddressAllow=localhost.
_ANY = {"0.0.0.0/0", "::/0"}
_LOCALHOST = {"127.0.0.0/8", "::1/128"}
_PROPERTIES = ("PrivateNetwork", "IPAddressDeny", "IPAddressAllow", "EnvironmentFiles",
               "UnsetEnvironment")  # fmt: skip
_OF_UNIT = {"IPAddressDeny", "IPAddressAllow", "PrivateNetwork"}
_OF_ENVIRONMENT = {"Environment", "EnvironmentFile", "UnsetEnvironment"}


def services(
    host: Host, locations: Locations, history: History
) -> dict[str, dict[str, str]] | None:
    """Return the properties of each service of the install; None: no systemd runs them here."""
    names = [
        str(entry.params["path"]).rpartition("/")[2]
        for entry in history.entries
        if entry.kind == InstallUnit.kind and entry.active
    ]
    if host.is_image or not host.services.running(locations.scope):
        return None
    return host.services.properties_of(
        locations.scope, [name for name in names if name.endswith(".service")], *_PROPERTIES
    )


def processes(
    host: Host,
    locations: Locations,
    units: Units | None,
    *,
    offline: bool,
) -> Part:
    """The variables where they count: in what the units get, and in the server that runs."""
    if not offline:
        return Part("processes", State.NOT_APPLICABLE, "the profile has no offline posture")
    wrong = []
    for name, found in (units or {}).items():
        if NAME not in found["EnvironmentFiles"]:
            wrong.append(f"{name} does not read {NAME}")
        dropped = VARIABLES.keys() & set(found["UnsetEnvironment"].split())
        wrong += [f"{name} drops {one}" for one in sorted(dropped)]
        wrong += _by_drop_in(host, locations, name, _OF_ENVIRONMENT) if dropped else []
    running = node.serving(host, locations)
    seen = _environ(host, running.pid) if running is not None else None
    if seen is not None:
        wrong += [
            f"the server runs with {name} {seen.get(name) or 'not set'}"
            for name, value in VARIABLES.items()
            if seen.get(name) != value
        ]
    if wrong:
        return Part("processes", State.DRIFTED, "; ".join(wrong))
    if not units and running is None:
        return Part("processes", State.APPLIED, "the command's own; nothing else of it runs here")
    by = f"{len(units)} units read {NAME}" if units else "no systemd runs here"
    own = ", and the server that runs has the variables" if seen is not None else ""
    return Part("processes", State.APPLIED, f"{by}{own}")


def _environ(host: Host, pid: int) -> dict[str, str] | None:
    """Return a process's environment as it began (proc_pid_environ(5)); None: closed, or gone."""
    try:
        words = host.files.read_bytes(f"/proc/{pid}/environ").split(b"\0")
    except OSError:
        return None
    pairs = (word.decode(errors="replace").partition("=") for word in words if word)
    return {name: value for name, _, value in pairs}


def egress(host: Host, locations: Locations, history: History, units: Units | None) -> Part:
    """Whether each unit is kept from other hosts, by systemd's own account."""
    if not any(entry.kind == InstallUnit.kind and entry.active for entry in history.entries):
        return Part("egress", State.NOT_APPLICABLE, "the profile has no unit")
    if units is None:
        return Part("egress", State.NOT_APPLICABLE, "no systemd runs here, so nothing enforces it")
    closed, left = [], []
    for name, found in units.items():
        if found["PrivateNetwork"] == "yes":
            closed.append(f"{name} has no network")
        elif _denies(found):
            closed.append(f"{name} reaches this machine alone")
        else:
            left.append(name)
    drifted = []
    for name in left:
        by = _by_drop_in(host, locations, name, _OF_UNIT)
        if by or locations.scope is Scope.SYSTEM:
            drifted.append(f"{name} may reach other hosts{': ' if by else ''}{', '.join(by)}")
    if drifted:
        return Part("egress", State.DRIFTED, "; ".join(drifted))
    if left:
        others = "".join(f"; {one}" for one in closed)
        return Part(
            "egress", State.NOT_APPLICABLE,
            f"{', '.join(left)}: this user's systemd can't keep it from other hosts{others}",
        )  # fmt: skip
    return Part("egress", State.APPLIED, "; ".join(closed))


def _denies(found: Mapping[str, str]) -> bool:
    denied, allowed = (set(found[name].split()) for name in ("IPAddressDeny", "IPAddressAllow"))
    return denied >= _ANY and allowed <= _LOCALHOST


def _by_drop_in(host: Host, locations: Locations, unit: str, names: set[str]) -> list[str]:
    """Return the lines of drop-ins that set one of these, with their files."""
    try:
        lines = drop_ins.read(host, locations.scope, unit).lines
    except (LocalOpusError, OSError):
        return []
    return [str(line) for line in lines if not line.is_own and line.name in names]

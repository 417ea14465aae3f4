"""Which servers this node has, as far as the caller may see: one for each scope with an install."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from local_opus import fallback, node, node_settings, node_units, server_config
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations, locate
from local_opus.monitor.judging import DEAD, RUNNING
from local_opus.monitor.memory import CGROUPS
from local_opus.values import Scope

_PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "MainPID", "ControlGroup",
               "NRestarts")  # fmt: skip


@dataclass(frozen=True)
class Unit:
    """What systemd says of a server's unit; see systemctl(1).

    Where it does not answer, as to a dynamic user whom the bus does not know, the unit's cgroup
    tells whether it has processes: the state is then RUNNING or DEAD.
    """

    state: str
    result: str
    pid: int | None
    cgroup: str | None
    restarts: int | None


@dataclass(frozen=True)
class Target:
    """A server to look at; ``problem``: what is wrong with its config, which may be edited.

    ``no_folder``: why nothing tells the ``folder`` of its weights.
    ``told_by``: what says where it listens. Only the socket is sure to: of a config a server may
    have loaded an earlier state, and serve that.
    """

    name: str
    locations: Locations
    address: str
    port: int
    model: str | None = None
    device: str | None = None
    folder: str | None = None
    no_folder: str | None = None
    problem: str | None = None
    told_by: Literal["socket", "settings", "guess"] = "guess"

    @property
    def url(self) -> str:
        """Where it answers."""
        shown = f"[{self.address}]" if ":" in self.address else self.address
        return f"http://{shown}:{self.port}"


def places_of(host: Host, scopes: Iterable[Scope]) -> tuple[Locations, ...]:
    """Return where installs of these scopes lie."""
    found = []
    for scope in scopes:
        with suppress(LocalOpusError):  # no HOME, as in a service: then no user's install is meant
            found.append(locate(scope, host.environ))
    return tuple(found)


def find(host: Host, installs: Iterable[Locations]) -> list[Target]:
    """Return the servers that are installed at these places."""
    found = []
    for places in installs:
        try:
            if not _is_there(host, places):
                continue
        except PermissionError:  # its folder is closed, so it is there
            pass
        found.append(_target(host, places))
    return found


def _is_there(host: Host, places: Locations) -> bool:
    """Whether a server is installed: its config may be gone while it serves what it loaded."""
    own = (places.server_config, f"{places.units}/{places.unit}")
    return any(host.files.stat(path) is not None for path in own) or (
        node.detached(host, places) is not None
    )


def _target(host: Host, places: Locations) -> Target:
    target = Target(places.scope.value, places, *node_settings.announced(host))
    try:
        if (where := node_units.socket_address(host, places)) is not None:
            target = replace(target, address=where[0], port=where[1], told_by="socket")
        else:
            where = server_config.listens(host.files.read_text, places.server_config)
            target = replace(target, address=where[0], port=where[1], told_by="settings")
        model = server_config.model_file(host.files.read_text, places.server_config)
    except PermissionError:
        return replace(target, no_folder="the server's config is closed to this user")
    except LocalOpusError as error:
        problem = error.message
        if host.files.stat(places.server_config) is None:
            problem = f"{places.server_config}: missing; `local-opus doctor --fix` writes it anew"
        return _last_good(host, replace(target, problem=problem))
    return replace(target, model=model.model, device=model.device, folder=model.folder)


def _last_good(host: Host, target: Target) -> Target:
    """Return what a server with a config of nonsense serves, as far as this user can read it."""
    kept = fallback.last_good(host, target.locations)
    if kept is None:
        return replace(target, no_folder="neither its config nor last good settings name them")
    found = replace(target, model=kept.model, device=kept.device, folder=kept.model_folder)
    if target.told_by == "socket":
        return found
    return replace(found, address=kept.host, port=kept.port, told_by="settings")


def unit_of(host: Host, places: Locations) -> Unit | None:
    """Return what is known of the server's unit; None: it has none."""
    if not host.services.running(places.scope):
        return None
    try:
        said = host.services.properties(places.scope, places.unit, *_PROPERTIES)
    except LocalOpusError:  # no systemctl
        said = dict.fromkeys(_PROPERTIES, "")
    if not said["LoadState"]:
        return _by_cgroup(host, places)
    if said["LoadState"] == "not-found":
        return None
    pid = int(said["MainPID"]) if said["MainPID"].isdecimal() else 0
    restarts = int(said["NRestarts"]) if said["NRestarts"].isdecimal() else None
    return Unit(said["ActiveState"], said["Result"], pid or None, said["ControlGroup"] or None,
                restarts)  # fmt: skip


def _by_cgroup(host: Host, places: Locations) -> Unit | None:
    """Return whether the unit's cgroup has processes (cgroup.events of the kernel's cgroup-v2)."""
    if places.scope is not Scope.SYSTEM or host.files.stat(f"{places.units}/{places.unit}") is None:
        return None
    cgroup = f"/system.slice/{places.unit}"
    try:
        events = host.files.read_text(f"{CGROUPS}{cgroup}/cgroup.events", 4096).splitlines()
        pids = host.files.read_text(f"{CGROUPS}{cgroup}/cgroup.procs", 65536).split()
    except OSError:  # systemd removes the cgroup of a unit that has ended
        return Unit(DEAD, "", None, None, None)
    if "populated 1" not in events:
        return Unit(DEAD, "", None, None, None)
    return Unit(RUNNING, "", min(map(int, pids), default=None), cgroup, None)

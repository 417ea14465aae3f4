"""The node's units as systemd has them: which there are, how each stands, where the socket listens.

All of them are asked about by their names: those that any version had.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.listening import holder
from local_opus.locations import (
    FORMER_UNIT,
    MONITOR_TIMER,
    MONITOR_UNIT,
    RECOVER_UNIT,
    SOCKET_UNIT,
    TARGET_UNIT,
    TUNE_UNIT,
    UNIT,
    Locations,
)
from local_opus.sandbox import drop_ins

#: In the order in which they are shown; the target holds the others.
NAMES = (TARGET_UNIT, SOCKET_UNIT, UNIT, FORMER_UNIT, TUNE_UNIT, MONITOR_UNIT, MONITOR_TIMER,
         RECOVER_UNIT)  # fmt: skip
_SHOWN = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "DropInPaths",
    "NeedDaemonReload", "InvocationID",
)  # fmt: skip
#: A socket that listens, in the words of `systemctl show`: "127.0.0.1:8000 (Stream)".
_STREAM = re.compile(r"(\S+):(\d+) \(Stream\)")
#: systemd's word for a socket that it closed because the service ended too often.
CLOSED = "service-start-limit-hit"
_WANT = "it was ended for want of memory"
#: In what is said where a memory limit is, or may be, the cause: by the server of an engine that
#: the kernel ended (server/oom.py), and by systemd of the server.
_OF_MEMORY = ("memory limit", _WANT, "ended (oom-kill)", "ended (signal)")
#: What systemd says of a unit whose groups it can't find (exit code 216, systemd.exec(5)).
_AT_GROUPS = "Failed at step GROUP"
#: What the server's unit says where systemd listens for it.
_REQUIRES = f"Requires={SOCKET_UNIT}"
_LISTEN = re.compile(r"^ListenStream=(\S+):(\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Standing:
    """How a unit stands, in systemd's words; ``reason``: why it has failed."""

    name: str
    load: str
    active: str
    sub: str
    enabled: str
    result: str
    restarts: int
    drop_ins: tuple[str, ...]
    needs_reload: bool
    reason: str | None = None


def there(host: Host, locations: Locations) -> list[str]:
    """Return the names of the units that are installed."""
    try:
        names = set(host.files.list(locations.units))
    except FileNotFoundError:
        return []
    return [name for name in NAMES if name in names]


def server_unit(host: Host, locations: Locations) -> str:
    """Return the name of the server's unit: of an older version where that is installed alone."""
    if locations.unit != UNIT:  # a trial's
        return locations.unit
    names = there(host, locations)
    return FORMER_UNIT if FORMER_UNIT in names and UNIT not in names else UNIT


def socket_address(host: Host, locations: Locations) -> tuple[str, int] | None:
    """Return where systemd listens for the server; None: the server opens its port itself."""
    found = socket_addresses(host, locations)
    return found[0] if found else None


def socket_addresses(host: Host, locations: Locations) -> list[tuple[str, int]]:
    """Return all addresses where systemd listens for the server, the first is the server's own.

    What an admin's drop-in says counts, where systemd runs and can be asked.
    """
    path = f"{locations.units}/{SOCKET_UNIT}"
    if locations.unit != UNIT or host.files.stat(path) is None or _opens_itself(host, locations):
        return []
    found: list[tuple[str, str]] = []
    if host.services.running(locations.scope):
        found = _STREAM.findall(host.services.property(locations.scope, SOCKET_UNIT, "Listen"))
    found = found or _LISTEN.findall(host.files.read_text(path))
    return [(address.strip("[]"), int(port)) for address, port in found]


def _opens_itself(host: Host, locations: Locations) -> bool:
    """Tell whether the server's unit does without the socket: that is of an earlier plan then.

    While an install changes from the one to the other, the files of both are there.
    """
    path = f"{locations.units}/{UNIT}"
    there = host.files.stat(path)
    if there is None or there.kind != "file":  # deleted, or masked
        return False
    return _REQUIRES not in host.files.read_text(path).splitlines()


def listens(host: Host, locations: Locations) -> bool:
    """Tell whether systemd listens for the server of this install now."""
    if SOCKET_UNIT not in there(host, locations) or not host.services.running(locations.scope):
        return False
    return host.services.property(locations.scope, SOCKET_UNIT, "ActiveState") == "active"


def start(host: Host, locations: Locations, waiting: Callable[[float], None]) -> None:
    """Start all units and wait until the server says that it is ready; what failed is forgotten.

    Raises LocalOpusError with what the server said, where it does not start.
    """
    scope, names = locations.scope, there(host, locations)
    # What systemd counted must not forbid this start.
    host.services.forget_failure(scope, *names)
    if TARGET_UNIT in names:
        host.services.do(scope, "--no-block", "start", TARGET_UNIT)
    server = server_unit(host, locations)
    if server in names:
        _start(host, locations, server, waiting, "start")
    if TARGET_UNIT in names:
        host.services.start(scope, TARGET_UNIT, lambda waited, _said: waiting(waited))


def stop(host: Host, locations: Locations) -> None:
    """Stop all units, the socket too: a client must not start the server again."""
    names = there(host, locations)
    if names:
        host.services.do(locations.scope, "stop", *names)


def stop_server(host: Host, locations: Locations) -> None:
    """Stop the server alone, and the socket that would start it again."""
    names = there(host, locations)
    listening = [SOCKET_UNIT] if SOCKET_UNIT in names and locations.unit == UNIT else []
    host.services.do(locations.scope, "stop", *listening, server_unit(host, locations))


def restart_server(host: Host, locations: Locations) -> None:
    """Start the server anew, and wait until it says that it is ready; a socket stays open."""
    server = server_unit(host, locations)
    host.services.forget_failure(locations.scope, server)
    _start(host, locations, server, lambda _waited: None, "restart")


def _start(
    host: Host,
    locations: Locations,
    name: str,
    waiting: Callable[[float], None],
    verb: Literal["start", "restart"],
) -> None:
    """Start a unit as ``Services.start`` does, and name a group that is not there."""
    try:
        host.services.start(locations.scope, name, lambda waited, _said: waiting(waited), verb)
    except LocalOpusError as error:
        if (group := _missing_group(host, locations, name, error.message)) is not None:
            raise LocalOpusError(
                f"{name} did not start: {group}",
                "Make the group, or install again: the unit then names the groups that are there.",
            ) from error
        if limit := _memory_limit(host, locations, name, error.message):
            raise LocalOpusError(
                f"{error.message}{limit}", "Raise the limit, or serve a smaller model."
            ) from error
        raise


def pause(host: Host, locations: Locations) -> None:
    """Stop all that works, but the machine's own tuning; ``start`` brings it back."""
    names = [name for name in there(host, locations) if name not in {TARGET_UNIT, TUNE_UNIT}]
    host.services.do(locations.scope, "stop", *names)


def standings(host: Host, locations: Locations) -> list[Standing]:
    """Return how each installed unit stands; nothing where no systemd answers."""
    if not host.services.running(locations.scope):
        return []
    names = there(host, locations)
    found = host.services.properties_of(locations.scope, names, *_SHOWN)
    return [_standing(host, locations, name, found[name]) for name in names]


def standing(host: Host, locations: Locations, name: str) -> Standing:
    """Return how one unit stands."""
    now = host.services.properties(locations.scope, name, *_SHOWN)
    return _standing(host, locations, name, now)


def _standing(host: Host, locations: Locations, name: str, now: Mapping[str, str]) -> Standing:
    reason = None
    if now["ActiveState"] == "failed":
        reason = _reason(host, locations, name, now["Result"], now["InvocationID"])
    return Standing(
        name=name,
        load=now["LoadState"],
        active=now["ActiveState"],
        sub=now["SubState"],
        enabled=now["UnitFileState"],
        result=now["Result"],
        restarts=int(now["NRestarts"]) if now["NRestarts"].isdecimal() else 0,
        drop_ins=tuple(now["DropInPaths"].split()),
        needs_reload=now["NeedDaemonReload"] == "yes",
        reason=reason,
    )


def _reason(host: Host, locations: Locations, name: str, result: str, invocation: str) -> str:
    """Say why a unit has failed: what it said itself, who holds its port, or systemd's word."""
    if result == CLOSED:
        return "closed: its service ended too often"
    if name == SOCKET_UNIT and (where := socket_address(host, locations)) is not None:
        problem = host.network.port_problem(*where)
        if problem is not None:
            who = holder(host, where[1]).words
            return f"port {where[1]} on {where[0]}: {problem}{who}"
        return f"port {where[1]} on {where[0]} could not be opened; it is free now"
    said, _ = host.services.last_words(locations.scope, name, invocation)
    said = _missing_group(host, locations, name, said) or said
    how = {
        "start-limit-hit": "it ended too often, and is not started again",
        "watchdog": "it hung: the watchdog ended it",
        "oom-kill": _WANT,
        "timeout": "it was not ready in time",
    }.get(result, f"it ended ({result})")
    limit = _memory_limit(host, locations, name, f"{how}{said}")
    return f"{how}{limit}: {said}" if said else f"{how}{limit}"


def _missing_group(host: Host, locations: Locations, name: str, said: str) -> str | None:
    """Say which group of a unit is not there, where systemd stumbled over one; else None."""
    if _AT_GROUPS not in said:
        return None
    for line in drop_ins.read(host, locations.scope, name).lines:
        if line.name in {"Group", "SupplementaryGroups"}:
            for group in line.value.split():
                if host.accounts.group_id(group) is None:
                    return f"{line}: there is no group {group}"
    return None


def _memory_limit(host: Host, locations: Locations, name: str, said: str) -> str:
    """Return what a unit may take, and the file and line that say so; "": that was not the end.

    systemd itself need not know: of a main process that the kernel killed it may only say
    ``signal`` (OOMPolicy=continue).
    """
    if not any(hint in said for hint in _OF_MEMORY):
        return ""
    line = drop_ins.read(host, locations.scope, name).last("MemoryMax")
    return "" if line is None or line.value in {"", "infinity"} else f" ({line})"

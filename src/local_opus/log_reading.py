"""What the units of a node, or a server without systemd, have printed: the journal, or a file."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.locations import (
    MONITOR_TIMER,
    MONITOR_UNIT,
    RECOVER_UNIT,
    SOCKET_UNIT,
    TARGET_UNIT,
    TUNE_UNIT,
    Locations,
)
from local_opus.values import Scope

UNITS = ("server", "monitor", "tune", "all")
_SECONDS = 60.0
_POLL = 0.5
#: Bytes of a file that are read of its end: more than a rotation leaves there.
_MOST = 64 * 1024 * 1024
#: journalctl's words for a user without the right to read.
_CLOSED = ("insufficient permissions", "not seeing messages from other users")
_AGO = re.compile(r"-?(\d{1,6})\s*(s|sec|seconds?|m|min|minutes?|h|hours?|d|days?)(?:\s+ago)?")
_LONG = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def units_of(locations: Locations, which: str) -> tuple[str, ...]:
    """Return the units that a word means."""
    named = {
        "server": (locations.unit, SOCKET_UNIT),
        "monitor": (MONITOR_UNIT, MONITOR_TIMER, RECOVER_UNIT),
        "tune": (TUNE_UNIT,),
    }
    if which in named:
        return named[which]
    return (TARGET_UNIT, *(unit for units in named.values() for unit in units))


def journal_command(
    scope: Scope, units: Sequence[str], lines: int, since: str | None, *, follow: bool = False
) -> list[str]:
    """Return the command that shows the journal of units."""
    command = ["journalctl", *(["--user"] if scope is Scope.USER else []), "--no-pager",
               f"--lines={lines}", *(f"--unit={unit}" for unit in units)]  # fmt: skip
    if since is not None:
        command.append(f"--since={since}")
    return [*command, "--follow"] if follow else command


def journal(host: Host, scope: Scope, units: Sequence[str], lines: int, since: str | None) -> str:
    """Return what the journal holds of units.

    Raises LocalOpusError where this user may not read it, BadInputError for a time that is none.
    """
    done = host.processes.run(journal_command(scope, units, lines, since), timeout=_SECONDS)
    said = done.err.strip()
    empty = not done.out.strip() or "-- No entries --" in done.out
    if empty and any(words in said.casefold() for words in _CLOSED):
        raise LocalOpusError(
            f"the journal of {units[0]} is closed to this user",
            "Join its readers, `sudo usermod -aG systemd-journal $USER`, and log in again; or run "
            "this with sudo.",
        )
    if done.code != 0:
        first = said.splitlines()[0] if said else f"exit code {done.code}"
        if "timestamp" in first:
            raise BadInputError(f"--since: {first}", 'Give it like "2 hours ago" or 2026-01-31.')
        raise LocalOpusError(f"journalctl: {first}", "Look at `systemctl status systemd-journald`.")
    return "" if empty else done.out


def tail(host: Host, path: str, lines: int, since: str | None) -> list[str]:
    """Return the last lines of a log file, and of its older part where it has too few.

    A line without a time of its own belongs to the one before. Raises BadInputError for a time that
    is none.
    """
    begin = None if since is None else moment(since, datetime.now())  # noqa: DTZ005 - as it is logged
    found: list[str] = []
    for part in (path, f"{path}.1"):
        found = _lines(host, part) + found
        if len(found) >= lines and begin is None:
            break
    if begin is not None:
        found = _from(found, begin)
    return found[-lines:]


def _lines(host: Host, path: str) -> list[str]:
    try:
        with host.files.open_read(path) as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _MOST))
            return stream.read(_MOST).decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _from(lines: list[str], begin: datetime) -> list[str]:
    for number, line in enumerate(lines):
        try:
            when = datetime.fromisoformat(line[:19])
        except ValueError:
            continue
        if when >= begin:
            return lines[number:]
    return []


def moment(words: str, now: datetime) -> datetime:
    """Return the time that words mean, as far as both journalctl and this know them.

    Raises BadInputError.
    """
    text = words.strip()
    if (ago := _AGO.fullmatch(text)) is not None:
        unit = _LONG[ago[2][0]]
        return now - timedelta(**{unit: int(ago[1])})
    days = {"now": 0, "today": 0, "yesterday": 1}
    if text in days:
        day = now.replace(hour=0, minute=0, second=0, microsecond=0)
        return now if text == "now" else day - timedelta(days=days[text])
    try:
        if re.fullmatch(r"\d{2}:\d{2}(:\d{2})?", text):
            return datetime.fromisoformat(f"{now:%Y-%m-%d}T{text}")
        return datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError as error:
        raise BadInputError(
            f"--since {words!a}: not a time",
            'Give it like "2 hours ago", 14:30 or "2026-01-31 14:30".',
        ) from error


def follow(host: Host, path: str) -> Iterator[str]:
    """Yield what is written to a log from now on, also after it was cut or replaced."""
    position = -1
    inode = 0
    while True:
        found = host.files.stat(path)
        if found is not None:
            if position < 0:
                position = found.size
            elif found.inode != inode or found.size < position:
                position = 0
            inode = found.inode
            if found.size > position:
                with host.files.open_read(path) as stream:
                    stream.seek(position)
                    data = stream.read()
                position += len(data)
                yield data.decode("utf-8", errors="replace")
        time.sleep(_POLL)

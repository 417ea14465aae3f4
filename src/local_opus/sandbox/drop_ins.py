"""What the files of a unit set, and which of an administrator's settings open its sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local_opus.host import Host
from local_opus.sandbox import directives
from local_opus.unit_text import service_settings
from local_opus.values import Scope


@dataclass(frozen=True)
class Line:
    """One setting and where it stands."""

    file: str
    number: int
    name: str
    value: str
    #: Whether the file is the unit itself, as an install wrote it.
    is_own: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: {self.name}={self.value}"


@dataclass(frozen=True)
class UnitFiles:
    """All settings of [Service] of a unit and its drop-ins, in the order in which they count."""

    lines: tuple[Line, ...]
    drop_ins: tuple[str, ...]
    #: Drop-ins that this user may not read.
    closed: tuple[str, ...]

    @property
    def opening(self) -> tuple[Line, ...]:
        """The settings of drop-ins that open the sandbox, and are not set back later."""
        return tuple(
            line
            for number, line in enumerate(self.lines)
            if not line.is_own
            and directives.opens(line.name, line.value)
            and not self._is_undone(line, self.lines[number + 1 :])
        )

    @staticmethod
    def _is_undone(line: Line, later: Sequence[Line]) -> bool:
        """A later setting of the same name takes its place, unless the two make a list."""
        rest = [one for one in later if one.name == line.name]
        if not rest:
            return False
        if line.value == "" or line.name not in _LISTS:
            return not directives.opens(line.name, rest[-1].value)
        return any(one.value == "" for one in rest)

    @property
    def closing(self) -> frozenset[str]:
        """The directives by which the unit itself closes something."""
        return frozenset(
            line.name
            for line in self.lines
            if line.is_own and directives.closes(line.name, line.value)
        )

    @property
    def harmless(self) -> tuple[Line, ...]:
        """The settings of drop-ins that open nothing."""
        return tuple(
            line
            for line in self.lines
            if not line.is_own and not directives.opens(line.name, line.value)
        )

    def last(self, name: str) -> Line | None:
        """Return where a setting is given last; None: nowhere."""
        return next((line for line in reversed(self.lines) if line.name == name), None)


#: Settings that are given several times and add up; an empty value begins anew.
_LISTS = {
    "AmbientCapabilities", "BindPaths", "CapabilityBoundingSet", "DeviceAllow", "ExecStart",
    "ExecStartPost", "ExecStartPre", "IPAddressAllow", "IPAddressDeny", "InaccessiblePaths",
    "ReadWritePaths", "RestrictAddressFamilies", "SupplementaryGroups", "SystemCallFilter",
}  # fmt: skip


def read(host: Host, scope: Scope, unit: str) -> UnitFiles:
    """Read what systemd has read, or will at its next reload. Raises LocalOpusError."""
    found = host.services.properties(scope, unit, "FragmentPath", "DropInPaths")
    drop_ins = tuple(found["DropInPaths"].split())
    lines: list[Line] = []
    closed = []
    for file in (found["FragmentPath"], *drop_ins):
        if not file:
            continue
        try:
            text = host.files.read_text(file)
        except FileNotFoundError:  # removed, and systemd has not looked since
            continue
        except PermissionError:
            closed.append(file)
            continue
        is_own = file == found["FragmentPath"]
        lines += [
            Line(file, one.line, one.name, one.value, is_own) for one in service_settings(text)
        ]
    return UnitFiles(tuple(lines), drop_ins, tuple(closed))

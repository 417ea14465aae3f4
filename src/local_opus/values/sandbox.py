"""What the server's sandbox lets it do: as tried from inside, and as the kernel sees it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, Self

from pydantic import Field

from local_opus.values.base import Value


class ProbeKind(StrEnum):
    """What a try is about."""

    WRITE = "write"
    READ = "read"
    OPEN = "open"
    REACH = "reach"
    DO = "do"


class Probe(Value):
    """One thing that a child of the server tried."""

    id: str = Field(description="e.g. write-etc, reach-tcp")
    kind: ProbeKind
    tried: str = Field(description="for a person, e.g. /etc")
    allowed: bool | None = Field(description="null: it can't be told here; the evidence says why")
    expected: bool | None = Field(description="of the hardened unit; null: either is all right")
    evidence: str = Field(description="the error's name, or what was seen")
    directive: str = Field(default="", description="of the unit, which forbids it")

    @property
    def is_breach(self) -> bool:
        """Whether something is open that should be closed."""
        return self.expected is False and self.allowed is True

    @property
    def is_lacking(self) -> bool:
        """Whether something is closed that the server needs."""
        return self.expected is True and self.allowed is False


class ProcessView(Value):
    """One process as the kernel sees it, /proc/PID (proc(5)); null: it could not be read."""

    name: Literal["server", "engine"]
    pid: int
    uid: int | None = None
    groups: tuple[int, ...] = ()
    seccomp: int | None = Field(default=None, description="0 none, 1 strict, 2 filter")
    seccomp_filters: int | None = None
    no_new_privs: bool | None = None
    cap_eff: str | None = Field(default=None, description="effective capabilities, 16 hex digits")
    cap_bnd: str | None = Field(default=None, description="what it could gain, 16 hex digits")
    uid_map: str | None = Field(default=None, description="as in /proc/PID/uid_map, blanks reduced")
    namespaces: dict[str, str] = Field(default_factory=dict, description="e.g. mnt: mnt:[4026532]")

    @classmethod
    def read(
        cls,
        name: Literal["server", "engine"],
        pid: int,
        status: str,
        uid_map: str | None,
        namespaces: Mapping[str, str],
    ) -> Self:
        """Return the view from the texts of /proc/PID/status and uid_map and from its ns links."""
        pairs = (line.partition(":") for line in status.splitlines())
        found = {key: value.split() for key, _, value in pairs}

        def number(key: str) -> int | None:
            word = found.get(key, [""])[:1]
            return int(word[0]) if word and word[0].isdecimal() else None

        def word(key: str) -> str | None:
            words = found.get(key)
            return words[0] if words else None

        new = number("NoNewPrivs")
        return cls(
            name=name,
            pid=pid,
            uid=number("Uid"),
            groups=tuple(int(one) for one in found.get("Groups", [])),
            seccomp=number("Seccomp"),
            seccomp_filters=number("Seccomp_filters"),
            no_new_privs=None if new is None else bool(new),
            cap_eff=word("CapEff"),
            cap_bnd=word("CapBnd"),
            uid_map=None if uid_map is None else " ".join(uid_map.split()),
            namespaces=dict(namespaces),
        )


class SandboxReport(Value):
    """What ``GET /sandbox`` answers."""

    schema_version: Literal[1] = 1
    processes: tuple[ProcessView, ...]
    interfaces: tuple[str, ...] = Field(description="of its network namespace; lo alone: no way")
    probes: tuple[Probe, ...]
    seconds: float = Field(description="that the tries took")
    age_seconds: float = Field(default=0.0, description="since they were made")
    egress_tried: int = Field(default=0, description="tries to reach another host, since the start")
    egress_refused: int = Field(default=0, description="of these, how many were refused")
    packets_without_route: int | None = Field(
        default=None,
        description="of any process in its network namespace, since that was made (OutNoRoutes); "
        "null: it has interfaces besides lo",
    )

    @property
    def breaches(self) -> tuple[Probe, ...]:
        """What is open that should be closed."""
        return tuple(probe for probe in self.probes if probe.is_breach)

    @property
    def lacking(self) -> tuple[Probe, ...]:
        """What is closed that the server needs."""
        return tuple(probe for probe in self.probes if probe.is_lacking)

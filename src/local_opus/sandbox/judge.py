"""What a report of the sandbox amounts to, by what is known of the unit from outside. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from local_opus.sandbox.directives import name_of
from local_opus.values.sandbox import Probe, ProbeKind, ProcessView, SandboxReport

_FILTER = "reach-filter"
_VERBS = {
    ProbeKind.WRITE: "write",
    ProbeKind.READ: "read",
    ProbeKind.OPEN: "open",
    ProbeKind.REACH: "reach",
    ProbeKind.DO: "do",
}
_SECCOMP = {0: "no seccomp filter", 1: "strict seccomp", 2: "a seccomp filter"}


@dataclass(frozen=True)
class Judgement:
    """What is wrong with a sandbox; all empty: nothing."""

    #: Open, and the unit can close it.
    breaches: tuple[Probe, ...]
    #: Open, and nothing that this unit has would close it.
    not_enforced: tuple[Probe, ...]
    #: Closed, and the server needs it.
    lacking: tuple[Probe, ...]
    #: Where the server says other than the kernel.
    contradictions: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing is open that can be closed, and nobody says otherwise."""
        return not (self.breaches or self.contradictions)


def judge(
    report: SandboxReport,
    contradictions: Sequence[str] = (),
    *,
    closing: Container[str] | None = None,
    shares_network: bool | None = None,
) -> Judgement:
    """Return what is wrong.

    ``closing``: the directives that the unit has, where it can't have all of them; None: it has.
    ``shares_network``: with this program, as the kernel says.
    """
    opened = [
        probe
        for probe in report.probes
        if probe.is_breach or (probe.id == _FILTER and probe.allowed and shares_network)
    ]
    breaches = [one for one in opened if closing is None or name_of(one.directive) in closing]
    return Judgement(
        breaches=tuple(breaches),
        not_enforced=tuple(one for one in opened if one not in breaches),
        lacking=report.lacking,
        contradictions=tuple(contradictions),
    )


def verdict(report: SandboxReport, found: Judgement) -> str:
    """Say it in one line."""
    count = len(report.probes)
    if found.contradictions:
        return f"contradicted: {found.contradictions[0]}"
    if found.breaches:
        names = ", ".join(in_words(probe) for probe in found.breaches[:3])
        more = f" and {len(found.breaches) - 3} more" if len(found.breaches) > 3 else ""  # noqa: PLR2004
        return f"open: {len(found.breaches)} of {count} tries should be refused: {names}{more}"
    refused = sum(probe.allowed is False for probe in report.probes)
    if found.not_enforced:
        names = ", ".join(dict.fromkeys(name_of(one.directive) for one in found.not_enforced))
        return (
            f"partial: {refused} of {count} tries from inside are refused; the user's systemd does "
            f"not enforce {names}"
        )
    return f"holds: {count} tries from inside, {refused} refused, and each that has to be"


def in_words(probe: Probe) -> str:
    """Say what was tried: ``write /etc``."""
    return f"{_VERBS[probe.kind]} {probe.tried}"


def details(report: SandboxReport) -> Iterator[str]:
    """Say what it can do of each kind and how much is refused, and what the kernel says of it."""
    for kind, verb in _VERBS.items():
        ours = [probe for probe in report.probes if probe.kind is kind]
        can = [probe.tried for probe in ours if probe.allowed]
        said = [f"{sum(probe.allowed is False for probe in ours)} refused"]
        untold = [probe.tried for probe in ours if probe.allowed is None and not _is_absent(probe)]
        if untold:
            said.append(f"not told: {', '.join(untold)}")
        yield f"can {verb}: {', '.join(can) or 'nothing'} ({', '.join(said)})"
    for view in report.processes:
        yield _process(view)
    yield f"network interfaces: {', '.join(report.interfaces) or 'none'}"
    stray = report.packets_without_route
    without = f"; {stray} packets found no way out of its network" if stray is not None else ""
    yield (
        f"other hosts: these tests tried {report.egress_tried} times since the start, refused "
        f"{report.egress_refused} times{without}"
    )


def _is_absent(probe: Probe) -> bool:
    """Whether there is nothing to try: that is nobody's concern."""
    return "not there" in probe.evidence or probe.evidence in {
        "there is none",
        "resolv.conf names none",
    }


def _process(view: ProcessView) -> str:
    said = [
        _SECCOMP.get(view.seccomp, "seccomp unknown") if view.seccomp is not None else "",
        {True: "no new privileges", False: "may gain privileges", None: ""}[view.no_new_privs],
        _capabilities(view),
        f"user {view.uid}" if view.uid is not None else "",
    ]
    return f"{view.name} (PID {view.pid}): {', '.join(word for word in said if word)}"


def _capabilities(view: ProcessView) -> str:
    if view.cap_eff is None or view.cap_bnd is None:
        return ""
    if int(view.cap_bnd, 16) == 0:
        return "no capability, and none to gain"
    return "no capability" if int(view.cap_eff, 16) == 0 else f"capabilities {view.cap_eff}"

"""Whether the server's sandbox holds: tried from inside, seen from outside, by the unit's files."""

from __future__ import annotations

from collections.abc import Sequence

from local_opus import node
from local_opus.asking import require_answer
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.errors import LocalOpusError
from local_opus.sandbox import asking, drop_ins, judge
from local_opus.sandbox.directives import closes, name_of
from local_opus.sandbox.drop_ins import Line, UnitFiles
from local_opus.values import Fix, Scope
from local_opus.values.sandbox import Probe

_SECONDS = 20.0


def ask(context: Context) -> Answer:
    """Ask the server, and judge its answer by the kernel's and by the files of its unit."""
    host, places = context.host, context.locations
    context.require_server()
    require_answer(host, places.scope)
    if not host.services.running(places.scope):
        raise NotApplicableError(
            "no systemd runs here, so the server is an ordinary process; `local-opus status` says "
            "what it can do"
        )
    files = drop_ins.read(host, places.scope, places.unit)
    running = node.serving(host, places)
    if running is None or running.how != "systemd":
        if files.opening:
            return _opened(context, files, (), "the server does not run; at its next start ")
        raise NotApplicableError("the server does not run, so nothing can be tried from inside")
    where = context.settings()
    try:
        report = asking.ask(host, where.host, where.port)
    except LocalOpusError as error:
        return warned(error.message, Fix(text=error.remedy), details=_told(files))
    found = asking.judge(host, places, running, report)
    if found.contradictions:
        return failed(
            f"the server does not tell the truth: {found.contradictions[0]}",
            advise("Start it anew; if it stays so, install again.", "local-opus stop",
                   "local-opus start"),
            details=found.contradictions,
        )  # fmt: skip
    if found.breaches or files.opening:
        return _opened(context, files, found.breaches, "", len(report.probes))
    if found.lacking:
        said = "; ".join(f"{judge.in_words(one)}: {one.evidence}" for one in found.lacking)
        return warned(f"the server is refused what it needs: {said}", _close(context, ()),
                      details=_told(files))  # fmt: skip
    return passed(judge.verdict(report, found), *_told(files))


def _opened(
    context: Context, files: UnitFiles, breaches: tuple[Probe, ...], begin: str, count: int = 0
) -> Answer:
    """Name what is open, the directive that would close it, and the line that sets it otherwise."""
    culprits = list(files.opening)
    lines = []
    for probe in breaches:
        line = files.last(name_of(probe.directive))
        by = ""
        if line is not None and not closes(line.name, line.value):
            by = f"; {line}"
            culprits += [line] if line not in culprits else []
        lines.append(f"{judge.in_words(probe)}: {probe.evidence}; {probe.directive} forbids it{by}")
    lines += [f"{line} opens the sandbox" for line in files.opening]
    first = str(files.opening[0]) if files.opening else lines[0]
    what = (
        f"{len(breaches)} of {count} tries from inside succeed that should not"
        if breaches
        else "a drop-in opens the sandbox"
    )
    fix = _close(context, culprits)
    return failed(f"{begin}{what}: {first}", fix, details=(*lines, *_told(files)))


def _close(context: Context, culprits: Sequence[Line]) -> Fix:
    """Return the fix: the files to correct, or the unit to write anew."""
    if not culprits:
        return advise("Install again, which writes the unit anew.", "local-opus upgrade")
    user = "--user " if context.locations.scope is Scope.USER else ""
    sudo = "" if user else "sudo "
    numbers: dict[str, list[str]] = {}
    for line in culprits:
        numbers.setdefault(line.file, []).append(str(line.number))
    what = " and ".join(
        f"{file} (line{'s' if len(found) > 1 else ''} {', '.join(found)})"
        for file, found in numbers.items()
    )
    return advise(
        f"Correct {what}; then have systemd read it.",
        *(f"{sudo}${{EDITOR:-vi}} {file}" for file in numbers),
        f"{sudo}systemctl {user}daemon-reload",
        f"{sudo}systemctl {user}restart {context.locations.unit}",
    )


def _told(files: UnitFiles) -> tuple[str, ...]:
    """Tell of drop-ins that open nothing."""
    return (
        *(f"{line}: harmless" for line in files.harmless),
        *(f"{file}: closed to this user" for file in files.closed),
    )


CHECK = Check("sandbox", "sandbox", Group.SERVER, ask, _SECONDS)

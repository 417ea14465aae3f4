"""Asks the running server what its sandbox lets it do, and says what that amounts to."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import JsonValue, ValidationError

from local_opus import node
from local_opus.errors import KeyNeededError, LocalOpusError
from local_opus.host import Host
from local_opus.locations import Locations
from local_opus.sandbox import drop_ins, outside
from local_opus.sandbox import judge as judging
from local_opus.sandbox.judge import Judgement
from local_opus.values import Scope
from local_opus.values.sandbox import SandboxReport

#: Seconds for an answer; longer than the server gives its child.
SECONDS = 12.0
_PATH = "/sandbox"


def ask(host: Host, address: str, port: int) -> SandboxReport:
    """Return the server's report. Raises LocalOpusError that says why it gives none."""
    try:
        status, answer = host.network.request_json(address, port, _PATH, timeout=SECONDS)
    except KeyNeededError as error:
        raise LocalOpusError(error.message, error.remedy) from error
    where = f"http://{address}:{port}{_PATH}"
    if status == HTTPStatus.NOT_FOUND:
        raise LocalOpusError(
            f"{where}: the server that runs is of a version that can't tell",
            "Start it anew: `local-opus stop`, then `local-opus start`.",
        )
    if status == HTTPStatus.FORBIDDEN:
        raise LocalOpusError(f"{where}: {_said(answer)}", "Ask it under a name that it has.")
    if status != HTTPStatus.OK:
        raise LocalOpusError(f"{where}: {_said(answer)}", "Look at `local-opus logs`.")
    try:
        return SandboxReport.model_validate(answer)
    except ValidationError as error:
        raise LocalOpusError(
            f"{where}: the answer is no report of a sandbox ({error.error_count()} errors)",
            "Another program may hold this port, or a server of another version.",
        ) from error


def _said(answer: Mapping[str, object]) -> str:
    error = answer.get("error")
    return str(error.get("message")) if isinstance(error, dict) else "it gives no reason"


def judge(
    host: Host, locations: Locations, running: node.Serving, report: SandboxReport
) -> Judgement:
    """Hold the report against the kernel's view of the process, and what its unit can close."""
    seen = outside.look(host, running.pid)
    closing: frozenset[str] | None = None
    if running.how != "systemd":
        closing = frozenset()
    elif locations.scope is Scope.USER:
        closing = drop_ins.read(host, locations.scope, locations.unit).closing
    return judging.judge(
        report,
        () if seen is None else outside.contradictions(report, seen),
        closing=closing,
        shares_network=None if seen is None else seen.shares_network,
    )


def tell(
    host: Host, locations: Locations, running: node.Serving | None, address: str, port: int
) -> dict[str, JsonValue] | None:
    """Return what ``status`` says of the sandbox; None where no server runs.

    ``verdict`` is one line, ``holds`` null where nothing is known or there is no sandbox,
    ``details`` are lines, ``report`` is the server's own.
    """
    if running is None:
        return None
    try:
        report = ask(host, address, port)
    except LocalOpusError as error:
        return {
            "verdict": f"not known: {error.message}",
            "holds": None,
            "details": [],
            "report": None,
        }
    found = judge(host, locations, running, report)
    document: dict[str, JsonValue] = report.model_dump(mode="json")
    holds: bool | None = found.holds
    said = judging.verdict(report, found)
    if running.how == "detached" and not found.contradictions:
        holds = None
        opened = len(found.breaches) + len(found.not_enforced)
        said = (
            f"none: no systemd runs here, so the server is an ordinary process; {opened} of "
            f"{len(report.probes)} tries from inside succeed that a unit refuses"
        )
    return {
        "verdict": said,
        "holds": holds,
        "details": [*found.contradictions, *judging.details(report)],
        "report": document,
    }

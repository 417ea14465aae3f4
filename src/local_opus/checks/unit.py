"""How systemd sees the units of the node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from local_opus import node_units
from local_opus.actions.enable_service import EnableService
from local_opus.actions.install_unit import OURS
from local_opus.asking import require_answer
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    by_doctor,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.host.services import journalctl
from local_opus.node_units import CLOSED, Standing
from local_opus.values import Scope
from local_opus.values.checks import CheckState

_SECONDS = 15.0
_ORDER = (CheckState.FAIL, CheckState.WARN, CheckState.PASS)


def ask(context: Context) -> Answer:
    """Ask systemd for the state of each unit; the worst is told."""
    scope = context.locations.scope
    require_answer(context.host, scope)
    entries = [entry for entry in context.history().entries if entry.kind == EnableService.kind]
    if not entries:
        context.require_server()
        raise NotApplicableError("the server was installed to run without systemd")
    if not context.host.services.running(scope):
        raise NotApplicableError("no systemd runs here now")
    action = context.journal().of(entries[-1])
    names = action.units if isinstance(action, EnableService) else ()
    found = [node_units.standing(context.host, context.locations, name) for name in names]
    # A socket that was closed because its service failed is not the cause.
    found.sort(key=lambda one: one.result == CLOSED)
    answers = [_judge(one, scope) for one in found]
    worst = min(answers, key=lambda one: _ORDER.index(one.state))
    yours = _changed_by(found)
    if worst.state is not CheckState.PASS:
        return replace(worst, details=(*worst.details, yours) if yours else worst.details)
    return passed("; ".join([*(one.evidence for one in answers), *([yours] if yours else [])]))


def _changed_by(units: Sequence[Standing]) -> str:
    """Name the drop-ins that are not ours; "": there are none."""
    paths = [path for one in units for path in one.drop_ins]
    theirs = [path for path in paths if not OURS.match(path.rpartition("/")[2])]
    return f"changed by {', '.join(theirs)}" if theirs else ""


def _judge(now: Standing, scope: Scope) -> Answer:
    name = now.name
    user = "systemctl --user" if scope is Scope.USER else "sudo systemctl"
    said = f"{name}: {now.active} ({now.sub}), {now.enabled or 'no unit file'}"
    if now.load == "masked":
        return failed(f"{name} is masked", by_doctor("Have it written again."), fixable=True)
    if now.load not in {"loaded", ""}:
        return failed(f"{name}: {now.load}", by_doctor("Have it restored."), fixable=True)
    if now.active == "failed":
        why = f": {now.reason}" if now.reason else ""
        return failed(
            f"{name} has failed ({now.result}), started again {now.restarts} times{why}",
            advise("Look why; then have it started.", f"{journalctl(scope, name)} -n 50",
                   "local-opus doctor --fix"),
            fixable=True,
        )  # fmt: skip
    if now.enabled != "enabled":
        return warned(f"{said}: it does not come up at the next boot",
                      by_doctor("Have it enabled."), fixable=True)  # fmt: skip
    if now.needs_reload:
        return warned(f"{said}: its file changed since systemd read it",
                      advise("Have systemd read it.", f"{user} daemon-reload"))  # fmt: skip
    if now.restarts:
        return warned(f"{said}, started again {now.restarts} times after it had ended",
                      advise("Look why.", f"{journalctl(scope, name)} -n 100"))  # fmt: skip
    return passed(said)


CHECK = Check("unit", "systemd unit", Group.SERVER, ask, _SECONDS)

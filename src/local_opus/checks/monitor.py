"""Whether the monitor looks at the server, and what it saw."""

from __future__ import annotations

from local_opus.asking import require_answer
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    by_doctor,
    corrected,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.host.services import journalctl
from local_opus.locations import MONITOR_TIMER, MONITOR_UNIT, RECOVER_UNIT, UNIT
from local_opus.monitor import settings, telling

_SECONDS = 15.0


def ask(context: Context) -> Answer:
    """Read what it keeps, and ask systemd for its units."""
    host, scope = context.host, context.locations.scope
    context.require_server()
    require_answer(host, scope)
    found = telling.look(host, context.locations)
    if found is None:
        raise NotApplicableError("this install has no monitor")
    if found.problem is not None:
        return failed(f"the monitor {found.verdict}", corrected(),
                      details=found.details)  # fmt: skip
    unread = settings.read_with_note(host, context.locations)[1]
    if unread is not None:
        return warned(unread, by_doctor("Have it opened again."))
    if not host.services.running(scope):
        raise NotApplicableError("no systemd runs here, which would have it look")
    systemctl = "systemctl --user" if scope.value == "user" else "sudo systemctl"
    if host.services.property(scope, MONITOR_TIMER, "ActiveState") != "active":
        return warned(f"{MONITOR_TIMER} does not run: nobody looks at the server",
                      advise("Start it.", f"{systemctl} start {MONITOR_TIMER}"))  # fmt: skip
    own = host.services.properties(scope, MONITOR_UNIT, "ActiveState", "ExecMainStatus")
    asked_recovery = own["ExecMainStatus"] == "3"
    if own["ActiveState"] == "failed" and not asked_recovery:
        return warned(f"{MONITOR_UNIT} can't look: it ended with {own['ExecMainStatus']}",
                      advise("Look why.", f"{journalctl(scope, MONITOR_UNIT)} -n 20"))  # fmt: skip
    if host.services.property(scope, RECOVER_UNIT, "LoadState") in {"not-found", "masked"}:
        return warned(f"{RECOVER_UNIT} is not there: a sick server is not started anew",
                      advise("Install again."))  # fmt: skip
    if found.closed:
        raise NotApplicableError("what it saw is root's to read")
    if found.ill:
        return failed(
            f"the server is {found.verdict}",
            advise("Look at what it says; then have it started.",
                   f"{journalctl(scope, UNIT)} -n 50", "local-opus start"),
            details=found.details,
        )  # fmt: skip
    if found.overdue:
        return warned(
            found.verdict, advise("Look why.", f"{journalctl(scope, MONITOR_UNIT)} -n 20")
        )
    last = found.history.last if found.history is not None else None
    if last is not None and last.warnings:
        return warned(found.verdict, advise("Watch it.", "local-opus monitor"),
                      details=found.details)  # fmt: skip
    return passed(found.verdict, *found.details)


CHECK = Check("monitor", "monitor", Group.SERVER, ask, _SECONDS)

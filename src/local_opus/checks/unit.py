"""How systemd sees the server's unit."""

from __future__ import annotations

from local_opus.actions.enable_service import EnableService
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
from local_opus.locations import UNIT
from local_opus.planner.keys import DROP_IN

_PROPERTIES = ("LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts", "Result",
               "DropInPaths", "NeedDaemonReload")  # fmt: skip
_SECONDS = 15.0


def ask(context: Context) -> Answer:
    """Ask systemd for the unit's state."""
    context.require_server()
    scope = context.locations.scope
    require_answer(context.host, scope)
    entries = context.history().entries
    if not any(entry.kind == EnableService.kind for entry in entries):
        raise NotApplicableError("the server was installed to run without systemd")
    if not context.host.services.running(scope):
        raise NotApplicableError("no systemd runs here now")
    now = context.host.services.properties(scope, UNIT, *_PROPERTIES)
    user = "systemctl --user" if scope.value == "user" else "sudo systemctl"
    said = f"{now['ActiveState']} ({now['SubState']}), {now['UnitFileState'] or 'no unit file'}"
    if now["LoadState"] == "masked":
        return failed(f"{UNIT} is masked", by_doctor("Have it written again."), fixable=True)
    if now["LoadState"] not in {"loaded", ""}:
        return failed(f"{UNIT}: {now['LoadState']}", by_doctor("Have it restored."), fixable=True)
    if now["ActiveState"] == "failed":
        return failed(
            f"{UNIT} has failed ({now['Result']}), started again {now['NRestarts'] or 0} times",
            advise("Look why; then have it started.", f"{journalctl(scope, UNIT)} -n 50",
                   "local-opus doctor --fix"),
            fixable=True,
        )  # fmt: skip
    if now["UnitFileState"] != "enabled":
        return warned(f"{said}: it does not come up at the next boot",
                      by_doctor("Have it enabled."), fixable=True)  # fmt: skip
    if now["NeedDaemonReload"] == "yes":
        return warned(f"{said}: its file changed since systemd read it",
                      advise("Have systemd read it.", f"{user} daemon-reload"))  # fmt: skip
    if (now["NRestarts"] or "0") != "0":
        return warned(f"{said}, started again {now['NRestarts']} times after it had ended",
                      advise("Look why.", f"{journalctl(scope, UNIT)} -n 100"))  # fmt: skip
    drop_ins = [path for path in now["DropInPaths"].split() if not path.endswith(f"/{DROP_IN}")]
    yours = f"; changed by {', '.join(drop_ins)}" if drop_ins else ""
    return passed(f"{said}{yours}")


CHECK = Check("unit", "systemd unit", Group.SERVER, ask, _SECONDS)

"""What the user's systemd enforces now, and whether the units were written for that."""

from __future__ import annotations

from local_opus import user_units
from local_opus.asking import require_answer
from local_opus.checks.base import (
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.restoring import install_command
from local_opus.values import Scope

_SECONDS = 45.0


def ask(context: Context) -> Answer:
    """Measure it again, and compare with what was measured at the install."""
    context.require_server()
    host, places = context.host, context.locations
    if places.scope is not Scope.USER:
        raise NotApplicableError("the units are the system's, which enforces all that they say")
    require_answer(host, places.scope)
    now = user_units.measure(host) if host.services.running(places.scope) else None
    if now is None:
        raise NotApplicableError("no systemd of the user runs here")
    if now.problem is not None:
        return warned(f"not measured: {now.problem}")
    then = user_units.recorded(context.history())
    lost = [name for name in (then.enforced if then else ()) if name in now.not_enforced]
    won = [name for name in now.enforced if then is None or name in then.not_enforced]
    again = advise("Have the units written for it.", install_command(context.history()))
    ignored = f"systemd {now.version} does not enforce {', '.join(now.not_enforced)}"
    if lost:
        evidence = f"{', '.join(lost)}: enforced when the units were written, and no more"
        return warned(evidence, again, details=[ignored])
    if won:
        evidence = f"{', '.join(won)}: enforced now, and the units were written without"
        return warned(evidence, again, details=[ignored])
    return passed(ignored)


CHECK = Check("user-systemd", "user's systemd", Group.SERVER, ask, _SECONDS)

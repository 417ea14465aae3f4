"""Whether a user's node goes on without a login."""

from __future__ import annotations

from local_opus import lingering
from local_opus.actions.enable_linger import by_admin
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
from local_opus.values import Scope


def ask(context: Context) -> Answer:
    """Look at what logind keeps of this user."""
    context.require_server()
    host, places = context.host, context.locations
    if places.scope is not Scope.USER:
        raise NotApplicableError("the node is the system's, and needs no login")
    require_answer(host, places.scope)
    run, user = context.history().last_run, host.accounts.own_name()
    said = lingering.told(host, places, run)
    if said is None or user is None:
        raise NotApplicableError("no systemd of the user runs here")
    if said == lingering.ON or run.get("linger") is False:
        return passed(said)
    return warned(said, advise("Have it turned on.", by_admin(user)))


CHECK = Check("lingering", "lingering", Group.SERVER, ask)

"""Whether the installed server runs, and answers with the model that it is set to."""

from __future__ import annotations

from local_opus import node
from local_opus.asking import require_answer
from local_opus.checks.base import Answer, Check, Group, advise, by_doctor, failed, passed, warned
from local_opus.checks.context import Context
from local_opus.errors import KeyNeededError

_SECONDS = 15.0


def ask(context: Context) -> Answer:
    """Look for its process, and ask it over HTTP."""
    host, locations = context.host, context.locations
    context.require_server()
    require_answer(host, locations.scope)
    running = node.serving(host, locations)
    if running is None:
        return warned("it does not run", by_doctor("Have it started."), fixable=True)
    where = context.settings()
    who = f"PID {running.pid}, {running.how}"
    try:
        ready = node.ask_ready(host, where.host, where.port)
    except KeyNeededError as error:
        return failed(f"{who}: {error.message}", advise(error.remedy))
    if ready is None:
        return warned(
            f"{who}: does not answer on {where.host}:{where.port}; it may still load the model",
            advise("Look at what it says.", "local-opus logs"),
        )
    if ready.get("model") != where.model:
        return failed(
            f"{who}: answers with {ready.get('model')}, and is set to {where.model}",
            advise("Start it anew.", "local-opus stop", "local-opus start"),
        )
    return passed(f"{who}: ready with {where.model}")


CHECK = Check("server", "server", Group.SERVER, ask, _SECONDS)

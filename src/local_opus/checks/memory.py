"""Whether the model fits into memory as it is configured."""

from __future__ import annotations

from local_opus import node, stock
from local_opus.catalog.fitting import fit
from local_opus.checks.base import (
    SECONDS_WITH_FACTS,
    Answer,
    Check,
    Group,
    advise,
    failed,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.facts import reading
from local_opus.host import Host
from local_opus.units import size_text

_KIB = 1024
_MOST_PROCESSES = 64


def ask(context: Context) -> Answer:
    """Compare the need with what is available, and with what our own server holds already."""
    model, where, facts = context.model(), context.settings(), context.facts()
    context.device()
    running = node.serving(context.host, context.locations)
    held = _resident(context.host, running.pid) if running is not None else 0
    memory = facts.memory.model_copy(update={"available": facts.memory.available + held})
    seen = facts.model_copy(update={"memory": memory})
    sized = stock.dimensions_of(context.host, context.locations, model)
    one = fit(model, seen, where.device, context.serving(requests=1), stored=True, sized=sized)
    fewer = advise("Free memory, or serve a model that fits.", "local-opus models list --fitting")
    if not one.fits:
        return failed(f"{model.id}: {one.reasons[0]}", fewer, details=one.reasons[1:])
    about = "about " if one.memory_fit is None or one.memory_fit.estimated else ""
    said = f"{model.id} needs {about}{size_text(one.memory)} on the {where.device} for one request"
    said += f"; {size_text(facts.memory.usable)} available"
    if held:
        said += f", {size_text(held)} held by our server"
    many = fit(model, seen, where.device, context.serving(), stored=True, sized=sized)
    if not many.fits:
        return warned(
            f"{said}; with the {where.max_concurrent} requests at a time that its config allows"
            f" it needs {size_text(many.memory)}",
            fewer,
        )
    return passed(said)


def _resident(host: Host, pid: int) -> int:
    """Return the bytes that a process and its children hold (proc_pid_status(5), VmRSS).

    One that has ended meanwhile, or is another user's, tells nothing.
    """
    total, waiting, seen = 0, [pid], 0
    while waiting and seen < _MOST_PROCESSES:
        one = waiting.pop()
        seen += 1
        for line in (reading.text(host, f"/proc/{one}/status") or "").splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * _KIB
        below = reading.text(host, f"/proc/{one}/task/{one}/children") or ""
        waiting += [int(word) for word in below.split() if word.isdecimal()]
    return total


CHECK = Check("memory", "memory fit", Group.MODEL, ask, SECONDS_WITH_FACTS)

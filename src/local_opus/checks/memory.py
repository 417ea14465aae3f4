"""Whether the model fits into memory as it is configured."""

from __future__ import annotations

from local_opus import node
from local_opus.catalog.choose import fit
from local_opus.catalog.needs import OVERHEAD, loaded_size
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
from local_opus.host import Host
from local_opus.units import size_text
from local_opus.values import Device

_KIB = 1024
_GIB = 2**30
_MOST_PROCESSES = 64


def ask(context: Context) -> Answer:
    """Compare the need with what is available, and with what our own server holds already."""
    model, where, facts = context.model(), context.settings(), context.facts()
    device = context.device()
    running = node.serving(context.host, context.locations)
    held = _resident(context.host, running.pid) if running is not None else 0
    memory = facts.memory.model_copy(update={"available": facts.memory.available + held})
    seen = facts.model_copy(update={"memory": memory})
    found = fit(model, seen, where.device, context.serving(), stored=True)
    fewer = advise("Free memory, or serve a model that fits.", "local-opus models list --fitting")
    if not found.fits:
        return failed(f"{model.id}: {found.reasons[0]}", fewer, details=found.reasons[1:])
    about = "about " if found.memory_fit is None or found.memory_fit.estimated else ""
    said = f"{model.id} needs {about}{size_text(found.memory)} on the {where.device}"
    said += f"; {size_text(facts.memory.usable)} available"
    if held:
        said += f", {size_text(held)} held by our server"
    full = loaded_size(model) + OVERHEAD + where.cache_size_gb * _GIB
    if device is Device.CPU and full > memory.usable:
        cache = f"{where.cache_size_gb} GiB"
        return warned(
            f"{said}; {size_text(full)} when its KV cache of {cache} is full of requests", fewer
        )
    return passed(said)


def _resident(host: Host, pid: int) -> int:
    """Return the bytes that a process and its children hold (proc_pid_status(5), VmRSS)."""
    total, waiting, seen = 0, [pid], 0
    while waiting and seen < _MOST_PROCESSES:
        one = waiting.pop()
        seen += 1
        for line in _text(host, f"/proc/{one}/status").splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * _KIB
        below = _text(host, f"/proc/{one}/task/{one}/children")
        waiting += [int(word) for word in below.split() if word.isdecimal()]
    return total


def _text(host: Host, path: str) -> str:
    """Return what a process tells; nothing of one that has ended, or is another user's."""
    try:
        return host.files.read_text(path, 8192)
    except OSError:
        return ""


CHECK = Check("memory", "memory fit", Group.MODEL, ask, SECONDS_WITH_FACTS)

"""Whether the model's weights lie in memory, not in swap."""

from __future__ import annotations

from local_opus.catalog.needs import serving_memory
from local_opus.checks.base import (
    SECONDS_WITH_FACTS,
    Answer,
    Check,
    Group,
    NotApplicableError,
    advise,
    passed,
    warned,
)
from local_opus.checks.context import Context
from local_opus.units import size_text

#: A little of what nobody uses lies in swap on every machine: this part of the memory is told.
_MUCH = 0.05


def ask(context: Context) -> Answer:
    """Compare what is swapped out with the memory, and the model with the memory."""
    memory = context.facts().memory
    if memory.swap_total == 0:
        raise NotApplicableError("no swap space: what does not fit fails at once, not slowly")
    used = memory.swap_total - memory.swap_free
    said = f"{size_text(used)} of {size_text(memory.swap_total)} in use"
    try:
        need: int | None = serving_memory(context.model(), context.serving(requests=1))
    except NotApplicableError:
        need = None
    if need is not None and need > memory.total:
        return warned(
            f"{said}; the model needs {size_text(need)} and the memory has"
            f" {size_text(memory.total)}: each token would read weights from the disk",
            advise("Serve a model that fits.", "local-opus models list --fitting"),
        )
    if used > memory.total * _MUCH:
        return warned(
            f"{said}: this machine has had too little memory",
            advise("End what needs memory besides; `free -h` shows what is available."),
        )
    return passed(said)


CHECK = Check("swap", "swap", Group.MACHINE, ask, SECONDS_WITH_FACTS)

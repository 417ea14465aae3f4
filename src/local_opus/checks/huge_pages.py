"""What the kernel does with huge pages; what OpenVINO gains by them is not proven, so not claimed.

What can be wrong: pages that are reserved and free are kept from all that does not ask for them.
"""

from __future__ import annotations

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

#: Part of the memory that may lie idle in reserved pages.
_MUCH = 0.05


def ask(context: Context) -> Answer:
    """Tell the mode of transparent huge pages, and what is reserved and idle."""
    memory = context.facts().memory
    mode, size = memory.transparent_huge_pages, memory.huge_page_size
    if mode is None and not memory.huge_pages:
        raise NotApplicableError("the kernel tells of no huge pages")
    said = f"transparent: {mode or 'not told'}"
    idle = memory.huge_pages_free * (size or 0)
    if idle > memory.total * _MUCH:
        return warned(
            f"{said}; {size_text(idle)} are reserved as huge pages and free: nothing that does not"
            " ask for them can use that memory",
            advise("Give them back, unless another program is about to take them.",
                   "sudo sysctl vm.nr_hugepages=0"),
        )  # fmt: skip
    reserved = memory.huge_pages * (size or 0)
    return passed(f"{said}, {size_text(reserved) if reserved else 'none'} reserved")


CHECK = Check("huge-pages", "huge pages", Group.MACHINE, ask, SECONDS_WITH_FACTS)

"""Whether the disk of the store holds what the model still needs."""

from __future__ import annotations

from shlex import quote

from local_opus import stock
from local_opus.catalog import needs
from local_opus.checks.base import Answer, Check, Group, advise, failed, passed, warned
from local_opus.checks.context import Context
from local_opus.facts import disk
from local_opus.units import size_text

#: Bytes: below that the receipt, logs and caches soon have no room.
_LITTLE = 256 * 2**20


def ask(context: Context) -> Answer:
    """Compare what is free with the model, where it is not stored yet."""
    model, device = context.model(), context.device()
    found = disk.parse(disk.read(context.host, context.locations.models))
    stored = stock.is_stored(context.host, context.locations, model, device)
    said = f"{size_text(found.free)} free for {context.locations.models}"
    free_it = advise(
        "Free room on that disk.",
        "local-opus models prune",
        f"du -xh {quote(found.path)} | sort -h | tail",
    )
    if found.free_inodes == 0:
        return failed(f"{said}, but no inodes: no file can be made", free_it)
    need = 0 if stored else needs.disk(model)
    if need > found.free:
        return failed(f"{said}; {model.id} is not stored and needs {size_text(need)}", free_it)
    if found.free < _LITTLE:
        return warned(f"{said}: soon nothing can be written", free_it)
    return passed(f"{said}; {model.id} is {'stored' if stored else 'not stored yet'}")


CHECK = Check("disk", "disk fit", Group.MODEL, ask)

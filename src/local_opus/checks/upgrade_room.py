"""Whether there is room for an upgrade: it makes its environment beside the one in use."""

from __future__ import annotations

from local_opus import environment
from local_opus.checks.base import Answer, Check, Group, advise, passed, warned
from local_opus.checks.context import Context
from local_opus.facts import disk
from local_opus.units import size_text


def ask(context: Context) -> Answer:
    """Compare what is free with what an environment of the same lock takes."""
    made = context.environment()
    found = disk.parse(disk.read(context.host, context.locations.prefix))
    need = environment.ROOM.get(made.lock, max(environment.ROOM.values()))
    said = f"{size_text(found.free)} free for {context.locations.prefix}, an upgrade takes"
    said += f" {size_text(need)}"
    if found.free < need:
        return warned(
            said, advise(f"Free {size_text(need - found.free)} on that disk before an upgrade.")
        )
    return passed(said)


CHECK = Check("upgrade-room", "room for an upgrade", Group.INSTALL, ask)

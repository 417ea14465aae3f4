"""Groups by name, as actions need them."""

from __future__ import annotations

from local_opus.errors import LocalOpusError
from local_opus.host import Host


def group_number(host: Host, name: str | None, *, required: bool = False) -> int | None:
    """Return the number of a group; None for no name, or no such group where it is not required."""
    if name is None:
        return None
    number = host.accounts.group_id(name)
    if number is None and required:
        raise LocalOpusError(
            f"group {name}: it does not exist", "Run the install again: it makes the group first."
        )
    return number

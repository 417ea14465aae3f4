"""The offline posture in a plan: its file, and lingering."""

from __future__ import annotations

from local_opus.planner.listing import Listing, write_file
from local_opus.planner.request import Request
from local_opus.values.posture import NAME, VARIABLES


def variables(request: Request) -> dict[str, str]:
    """Return the variables that the node's processes get; none where it is not to be offline."""
    return dict(VARIABLES) if request.profile.posture.offline else {}


def posture_file(request: Request) -> str | None:
    """Return the path of the file that the units read; None: there is none."""
    return f"{request.locations.config}/{NAME}" if request.profile.posture.offline else None


def add_posture(todo: Listing, request: Request, group: str | None) -> list[str]:
    """Add the file; return what units are started anew for."""
    if (path := posture_file(request)) is None:
        return []
    values = {"variables": variables(request)}
    mode = 0o640 if group else 0o600
    return [
        write_file(todo, request, "posture", path, f"{NAME}.j2", values, mode=mode, group=group)
    ]


def add_lingering(todo: Listing, request: Request) -> None:
    """Let the user's services go on without a login, where there is a user's systemd."""
    if request.linger is not None and request.systemd and not request.is_image:
        todo.add("lingering", "enable_linger", user=request.linger, scope="user")

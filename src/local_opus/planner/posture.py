"""The offline posture: what the libraries of a node's processes are told, from one place.

https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables names the hub's
and DO_NOT_TRACK, https://huggingface.co/docs/transformers/installation#offline-mode the other.
openvino_telemetry has no variable that turns it off: ``runtime.worker`` keeps it from being
imported.
"""

from __future__ import annotations

from collections.abc import Mapping

from local_opus.planner.listing import Listing, write_file
from local_opus.planner.request import Request

NAME = "posture.env"
VARIABLES: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


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

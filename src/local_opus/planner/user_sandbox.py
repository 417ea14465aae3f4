"""The sandbox of a user's units: as tight as this user's systemd was seen to make it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from local_opus.planner.request import Request
from local_opus.values.user_manager import FILTERS, HIDDEN, PRIVILEGED

#: What a unit has anyway, or has by what it is for: the template asks ``may``.
_ELSEWHERE = {*FILTERS, "TasksMax", "PrivateNetwork", "PrivateDevices", "DevicePolicy"}
#: What a path may hold that a directive takes in quotes; any other keeps homes in sight.
_QUOTABLE = re.compile(r"/[\w/.,@+=~ -]*", re.ASCII)


@dataclass(frozen=True)
class UserSandbox:
    """What every unit of the user has, and which directives it ``may`` have besides."""

    #: Directives with their values.
    settings: tuple[tuple[str, str], ...] = ()
    #: What is shown where homes are hidden.
    readable: tuple[str, ...] = ()
    may: frozenset[str] = frozenset()


def user_sandbox(request: Request) -> UserSandbox:
    """Return what the units of a user have.

    Where nothing is known of who will run them, as on an image, they have what every systemd takes.
    """
    manager, places = request.user_manager, request.locations
    if manager is None:
        return UserSandbox()
    settings = {name: PRIVILEGED[name] for name in manager.enforced if name not in _ELSEWHERE}
    if "CapabilityBoundingSet" in settings:
        settings["AmbientCapabilities"] = ""
    # The store by itself: a link may lead to another disk.
    folders = (places.prefix, places.models, places.config)
    readable = (*folders, *seen_inside(request.program.python.path))
    if "ProtectHome" in settings and not (
        manager.sandboxed and all(_QUOTABLE.fullmatch(path) for path in readable)
    ):
        settings["ProtectHome"] = "read-only"
    hides = settings.get("ProtectHome") == PRIVILEGED["ProtectHome"]
    return UserSandbox(
        tuple(settings.items()), readable if hides else (), frozenset(manager.enforced)
    )


def seen_inside(python: str) -> tuple[str, ...]:
    """Return what of an interpreter must be shown to a unit that homes are hidden from."""
    return (python.rpartition("/bin/")[0],) if python.startswith(HIDDEN) else ()

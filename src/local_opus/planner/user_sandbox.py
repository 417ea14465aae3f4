"""The sandbox of a user's unit: as tight as this user's systemd was seen to make it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from local_opus.values import Device
from local_opus.values.user_manager import FILTERS, PRIVILEGED, UserManager

#: What is in the unit anyway, in another way, or not for every unit.
_ELSEWHERE = {*FILTERS, "TasksMax", "PrivateNetwork", "PrivateDevices", "DevicePolicy"}
#: What a path may hold that a directive takes in quotes; any other keeps homes in sight.
_QUOTABLE = re.compile(r"/[\w/.,:@+=~ %-]*")


@dataclass(frozen=True)
class UserSandbox:
    """Directives with their values, and the paths that are shown where homes are hidden."""

    settings: tuple[tuple[str, str], ...] = ()
    readable: tuple[str, ...] = ()


def user_sandbox(
    manager: UserManager | None, device: Device, readable: Sequence[str]
) -> UserSandbox:
    """Return the sandbox of a unit that reads the folders ``readable`` in a home.

    Without a ``manager``, of an image, nothing is known of who will run it: then the unit has what
    every systemd takes.
    """
    if manager is None or not manager.enforced:
        return UserSandbox()
    settings = {name: PRIVILEGED[name] for name in manager.enforced if name not in _ELSEWHERE}
    if device is Device.CPU and "PrivateDevices" in manager.enforced:
        settings["PrivateDevices"] = "yes"
    if device is not Device.CPU and "DevicePolicy" in manager.enforced:
        settings["DevicePolicy"] = "closed"
    if "IPAddressDeny" in settings:
        settings["IPAddressAllow"] = "localhost"
    if "CapabilityBoundingSet" in settings:
        settings["AmbientCapabilities"] = ""
    if "ProtectHome" not in settings:
        return UserSandbox(tuple(settings.items()))
    if not manager.sandboxed or not all(_QUOTABLE.fullmatch(path) for path in readable):
        settings["ProtectHome"] = "read-only"
        return UserSandbox(tuple(settings.items()))
    return UserSandbox(tuple(settings.items()), tuple(dict.fromkeys(readable)))

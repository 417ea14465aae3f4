"""The links by which units come up at boot, made and removed as systemctl does (systemctl(1)).

For where no systemd is to be asked: an image, or a machine whose own does not run. The folders are
those that the units' own [Install] sections name.
"""

from __future__ import annotations

from collections.abc import Iterable

from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.locations import TARGET_UNIT, locate
from local_opus.values import Scope

#: What the node's target is wanted by; and each unit of versions without one.
TARGETS = {Scope.SYSTEM: "multi-user.target", Scope.USER: "default.target"}


def is_enabled(host: Host, scope: Scope, unit: str) -> bool:
    """Tell whether the link of a unit is there, and is one."""
    found = host.files.stat(_link(host, scope, unit))
    return found is not None and found.kind == "link"


def enable(host: Host, scope: Scope, units: Iterable[str]) -> None:
    """Make the links. Raises LocalOpusError where something else is in the place of one."""
    for unit in units:
        link = _link(host, scope, unit)
        target = f"{locate(scope, host.environ).units}/{unit}"
        found = host.files.stat(link)
        if found is not None and found.kind == "link" and host.files.read_link(link) == target:
            continue
        if found is not None:
            raise LocalOpusError(
                f"{link}: {found.what} is in the place of the link that starts {unit}",
                "Move it away and run this again.",
            )
        host.files.make_folders(link.rpartition("/")[0])
        host.files.symlink(target, link)


def disable(host: Host, scope: Scope, units: Iterable[str]) -> None:
    """Remove the links, and the folders that are then empty."""
    folder = locate(scope, host.environ).units
    for unit in units:
        for target in (TARGET_UNIT, TARGETS[scope]):
            wants = f"{folder}/{target}.wants"
            found = host.files.stat(f"{wants}/{unit}")
            if found is not None and found.kind == "link":
                host.files.remove(f"{wants}/{unit}")
                if not host.files.list(wants):
                    host.files.remove_folder(wants)


def _link(host: Host, scope: Scope, unit: str) -> str:
    target = TARGETS[scope] if unit == TARGET_UNIT else TARGET_UNIT
    return f"{locate(scope, host.environ).units}/{target}.wants/{unit}"

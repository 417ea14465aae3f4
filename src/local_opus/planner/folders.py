"""The folders that an install makes."""

from __future__ import annotations

from pydantic import JsonValue

from local_opus.locations import Locations
from local_opus.planner.listing import Listing, planned
from local_opus.planner.request import Request
from local_opus.values import PlannedAction


def add_folders(todo: Listing, request: Request, group: str | None) -> None:
    """Add the folders."""
    places = request.locations
    # No mode: the folder is others' too, and stays as it is where it is there.
    todo.actions.append(_folder("prefix", places.prefix, 0o755))
    if request.profile.command.link:
        todo.actions.append(_folder("bin", f"{places.prefix}/bin", 0o755))
        todo.actions.append(_folder("commands", places.commands, None))
    if request.model is not None:
        todo.actions.append(store_folder(places))
    measured = request.tuning is not None or request.machine is not None
    if request.model is not None or measured or request.profile.posture.offline:
        todo.actions.append(config_folder(places, group))
    # Without systemd a server keeps PID and log itself, and /run is empty after a boot.
    if request.profile.server.enabled and not request.systemd:
        todo.actions.append(_folder("runtime", places.runtime, 0o755))
        todo.actions.append(_folder("logs", places.logs, 0o750))


def _folder(name: str, path: str, mode: int | None, group: str | None = None) -> PlannedAction:
    params: dict[str, JsonValue] = {"path": path, "mode": mode, "group": group}
    return planned(f"folder:{name}", "create_folder", params)


def units_folder(locations: Locations) -> PlannedAction:
    """Return the action that makes the folder of the units; it is others' too."""
    return _folder("units", locations.units, None)


def store_folder(locations: Locations) -> PlannedAction:
    """Return the action that makes the store, also for a model that comes without an install."""
    return _folder("models", locations.models, 0o755)


def config_folder(locations: Locations, group: str | None) -> PlannedAction:
    """Return the action that makes the folder of the configs."""
    return _folder("config", locations.config, 0o750 if group else 0o700, group)


def credentials_folder(locations: Locations) -> PlannedAction:
    """Return the action that makes the folder of keys."""
    return _folder("credentials", locations.credentials, 0o700)


def drop_in_folder(unit: str, path: str) -> PlannedAction:
    """Return the action that makes the folder of a unit's drop-ins; it is an admin's too."""
    return _folder(f"{unit}.d", path, None)

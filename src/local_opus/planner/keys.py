"""What keeping keys, and wanting them, changes on a machine."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from local_opus.locations import GROUP, KEYS_DROP_IN, Locations
from local_opus.planner.folders import (
    config_folder,
    credentials_folder,
    drop_in_folder,
    units_folder,
)
from local_opus.planner.listing import planned
from local_opus.values import PlannedAction, Scope

WANTED = "keys:wanted"
_MARK = '{"required": true, "schema_version": 1}\n'


def keeping(locations: Locations, names: tuple[str, ...], *, sealed: bool) -> list[PlannedAction]:
    """Return the actions that come before credentials of these names are written."""
    scope: JsonValue = locations.scope.value
    todo = [credentials_folder(locations)]
    if sealed and locations.scope is Scope.SYSTEM:
        todo.append(planned("host-key", "make_host_key", {"scope": scope}))
    for name in names:
        params: dict[str, JsonValue] = {
            "scope": scope,
            "folder": locations.credentials,
            "name": name,
        }
        todo.append(planned(credential_id(name), "keep_credential", params))
    return todo


def credential_id(name: str) -> str:
    """Return the id of a credential's action."""
    return f"credential:{name}"


def drop_ins(locations: Locations, contents: Mapping[str, str]) -> list[PlannedAction]:
    """Return the actions that write a drop-in for each unit, by its name."""
    todo = []
    for unit, content in contents.items():
        folder = f"{locations.units}/{unit}.d"
        todo.append(drop_in_folder(unit, folder))
        params: dict[str, JsonValue] = {
            "path": f"{folder}/{KEYS_DROP_IN}",
            "content": content,
            "mode": 0o644,
            "scope": locations.scope.value,
        }
        todo.append(planned(drop_in_id(unit), "install_unit", params))
    return todo


def drop_in_id(unit: str) -> str:
    """Return the id of the action of a unit's drop-in."""
    return f"keys:{unit}"


def places(locations: Locations) -> list[PlannedAction]:
    """Return the actions that make where the mark and the drop-ins go: as an install makes them.

    The group too: the mark has to be readable for a service that is installed later.
    """
    group = _group(locations)
    named: list[PlannedAction] = []
    if group is not None:
        named.append(planned("group", "create_group", {"name": group}))
    return [*named, config_folder(locations, group), units_folder(locations)]


def mark(locations: Locations) -> PlannedAction:
    """Return the action by which the server wants keys, whatever its unit says."""
    group = _group(locations)
    params: dict[str, JsonValue] = {
        "path": locations.keys_file,
        "content": _MARK,
        "mode": 0o640 if group else 0o600,
        "group": group,
    }
    return planned(WANTED, "write_file", params)


def _group(locations: Locations) -> str | None:
    return GROUP if locations.scope is Scope.SYSTEM else None

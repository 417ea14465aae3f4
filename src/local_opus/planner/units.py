"""Systemd's units: a file each, and what enables and starts them together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from local_opus.locations import TARGET_UNIT
from local_opus.planner.folders import units_folder
from local_opus.planner.listing import Listing
from local_opus.planner.posture import posture_file
from local_opus.planner.request import Request
from local_opus.planner.user_sandbox import user_sandbox
from local_opus.render import render

#: The id of the action that starts the node, under systemd or without. It had it before there were
#: other units than the server's, and a receipt knows by it what stood there before the install.
SERVICE = "server"


@dataclass(frozen=True)
class Unit:
    """A unit of the node, e.g. ``local-opus.service``, and what its template is rendered with.

    The template is ``systemd/<name>.j2``. It gets ``scope`` and what hardening.inc.j2 wants too.
    It is part of local-opus.target and, where it has an [Install] section, wanted by it.
    """

    name: str
    values: Mapping[str, object]


def unit_text(request: Request, unit: Unit) -> str:
    """Return the content of a unit's file. Raises as ``render`` does."""
    scope = request.locations.scope.value
    common = {
        "scope": scope,
        "posture_file": posture_file(request),
        "user_sandbox": user_sandbox(request),
    }
    return render(f"{unit.name}.j2", request.templates, {**common, **unit.values})


def add_units(todo: Listing, request: Request, units: Sequence[Unit]) -> list[str]:
    """Add the files of the units and of the target that holds them, and return their contents.

    Nothing is enabled here: that is ``add_start``.
    """
    contents = []
    todo.actions.append(units_folder(request.locations))
    for unit in (Unit(TARGET_UNIT, {}), *units):
        content = unit_text(request, unit)
        todo.add(
            f"unit:{unit.name}",
            "install_unit",
            path=f"{request.locations.units}/{unit.name}",
            content=content,
            mode=0o644,
            scope=request.locations.scope.value,
        )
        contents.append(content)
    return contents


def add_start(
    todo: Listing, request: Request, units: Sequence[Unit], inputs: Iterable[str]
) -> None:
    """Add what enables and starts units, anew where something of their ``inputs`` changed.

    In an image they are enabled alone.
    """
    with_section = (
        unit.name for unit in units if "\n[Install]\n" in request.templates[f"{unit.name}.j2"]
    )
    todo.add(
        SERVICE,
        "enable_service",
        scope=request.locations.scope.value,
        units=[TARGET_UNIT, *with_section],
        inputs_sha256=digest(inputs),
    )


def digest(inputs: Iterable[str]) -> str:
    """Return a digest that changes with each of the texts."""
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()

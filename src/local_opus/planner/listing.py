"""The list that a plan grows in."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import JsonValue

from local_opus.actions import build
from local_opus.planner.request import Request
from local_opus.render import render
from local_opus.values import PlannedAction


class Listing:
    """Collects actions; each says itself what it does."""

    def __init__(self) -> None:
        self.actions: list[PlannedAction] = []

    def add(self, id_: str, kind: str, **params: JsonValue) -> None:
        """Add an action."""
        self.actions.append(planned(id_, kind, params))


def planned(
    id_: str, kind: str, params: dict[str, JsonValue], *, transient: bool = False
) -> PlannedAction:
    """Return an action of a plan; it says itself what it does."""
    summary = build(kind, params).summary()
    return PlannedAction(id=id_, kind=kind, summary=summary, params=params, transient=transient)


def write_file(
    todo: Listing,
    request: Request,
    id_: str,
    path: str,
    template: str,
    values: Mapping[str, object],
    *,
    mode: int,
    group: str | None = None,
) -> str:
    """Add a file rendered from a template, and return its content."""
    content = render(template, request.templates, values)
    todo.add(id_, "write_file", path=path, content=content, mode=mode, group=group)
    return content

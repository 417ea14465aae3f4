"""An action made from what a receipt says of it, which may touch the folders of an install alone.

A receipt may be damaged, or written by someone who means harm: whatever makes an action from one
makes it here.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue

from local_opus.actions.base import Action
from local_opus.errors import LocalOpusError
from local_opus.values import Scope

#: Makes an action from its kind and its parameters; raises LocalOpusError for an unknown kind.
Build = Callable[[str, dict[str, JsonValue]], Action]


_REMEDY = "Nothing was touched; restore the receipt from a backup."


def make(
    build: Build,
    kind: str,
    params: dict[str, JsonValue],
    roots: tuple[str, ...],
    scope: Scope | None = None,
) -> Action:
    """Build an action.

    Raises LocalOpusError where a path of its lies outside of ``roots``, or where it would work in
    another ``scope``: there it would find folders and services that are not of this install.
    """
    action = build(kind, params)
    its = getattr(action, "scope", scope)
    if scope is not None and its is not scope:
        raise LocalOpusError(
            f"action {kind}: of the scope {its}, in a receipt of the scope {scope.value}", _REMEDY
        )
    for path in action.paths():
        if ".." in path.split("/") or not any(
            path == root or path.startswith(f"{root}/") for root in roots
        ):
            raise LocalOpusError(f"{path}: outside of the folders of an install", _REMEDY)
    return action

"""An action made from what a receipt says of it, which may touch the folders of an install alone.

A receipt may be damaged, or written by someone who means harm: whatever makes an action from one
makes it here.
"""

from __future__ import annotations

from collections.abc import Callable

from pydantic import JsonValue

from local_opus.actions.base import Action
from local_opus.errors import LocalOpusError

#: Makes an action from its kind and its parameters; raises LocalOpusError for an unknown kind.
Build = Callable[[str, dict[str, JsonValue]], Action]


def make(build: Build, kind: str, params: dict[str, JsonValue], roots: tuple[str, ...]) -> Action:
    """Build an action. Raises LocalOpusError where a path of its lies outside of ``roots``."""
    action = build(kind, params)
    for path in action.paths():
        if ".." in path.split("/") or not any(
            path == root or path.startswith(f"{root}/") for root in roots
        ):
            raise LocalOpusError(
                f"{path}: outside of the folders of an install",
                "Nothing was touched; restore the receipt from a backup.",
            )
    return action

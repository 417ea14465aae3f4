"""The server's configs as an install will leave them: it keeps those that the user edited."""

from __future__ import annotations

from collections.abc import Container

from local_opus import server_config
from local_opus.host import Host
from local_opus.server_config import WeightsFacts
from local_opus.tuning import tuned
from local_opus.values import Plan

#: The weights are looked at when they are there; here any context length will do.
_ANY_WEIGHTS = WeightsFacts("0" * 64, 4096)


def require_sound(host: Host, plan: Plan, server_json: str, edited_ids: Container[str]) -> None:
    """Raise BadInputError, with file and field, where an edited config says what can't be.

    ``edited_ids`` are those of the actions whose files were edited.
    """
    configs = [action for action in plan.actions if action.id.startswith("config:")]
    planned = {str(one.params["path"]): str(one.params["content"]) for one in configs}
    edited = {str(one.params["path"]) for one in configs if one.id in edited_ids}
    if not edited and "tuning" not in edited_ids:
        return

    def read(path: str) -> str:
        is_ours = path in planned and path not in edited
        return planned[path] if is_ours else host.files.read_text(path)

    if configs:
        server_config.load(read, server_json, lambda _folder: _ANY_WEIGHTS)
    else:  # no server: what was tuned stands alone
        path = server_config.tuned_path(server_json)
        tuned.parse(host.files.read_text(path), path)

"""The hub's token: where ``hf auth login`` and the hub's own tools leave it.

Read here and not by ``huggingface_hub``: that takes half a second to import, and may renew a token
over the network where only whether there is one is asked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

#: The first that is set counts; the second is the name of older tools.
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
#: Bytes; a token has some forty.
_LIMIT = 4096


def hub_token(environ: Mapping[str, str]) -> str | None:
    """Return the token of this machine's user, None where there is none.

    Raises OSError, with the path, for a file of a token that can't be read.
    """
    for name in _VARIABLES:
        if word := environ.get(name, "").strip():
            return word
    path = _path(environ)
    if path is None:
        return None
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LIMIT)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return data.decode("utf-8", errors="replace").strip() or None


def _path(environ: Mapping[str, str]) -> str | None:
    """Return the token's file, by the variables of ``huggingface_hub``."""
    if named := environ.get("HF_TOKEN_PATH"):
        return os.path.expanduser(named)
    if home := environ.get("HF_HOME"):
        return os.path.join(os.path.expanduser(home), "token")
    cache = environ.get("XDG_CACHE_HOME") or (
        f"{environ['HOME']}/.cache" if environ.get("HOME") else None
    )
    return f"{cache}/huggingface/token" if cache is not None else None

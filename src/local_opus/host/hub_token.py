"""The hub's token: where ``hf auth login`` and the hub's own tools leave it.

Read here and not by ``huggingface_hub``: that takes half a second to import, and may renew a token
over the network where only whether there is one is asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from local_opus.errors import BadInputError

#: The first that is set counts; the second is the name of older tools.
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
#: Bytes; a token has some forty.
_LIMIT = 4096
#: What a header can carry, without spaces.
_TOKEN = re.compile(r"[!-~]+")


def hub_token(environ: Mapping[str, str]) -> str | None:
    """Return the token of this machine's user, None where there is none.

    Raises OSError, with the path, for a file of a token that can't be read, and BadInputError for
    words that are none: who puts them into a header prints them when that fails.
    """
    for name in _VARIABLES:
        if word := environ.get(name, "").strip():
            return _sound(word, name)
    path = _path(environ)
    if path is None:
        return None
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    word = data.decode("utf-8", errors="replace").strip()
    return _sound(word, path) if word else None


def _sound(word: str, where: str) -> str:
    if len(word) > _LIMIT or _TOKEN.fullmatch(word) is None:
        raise BadInputError(
            f"{where}: holds something else than a token",
            "Set it to the token alone, as the hub shows it.",
        )
    return word


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

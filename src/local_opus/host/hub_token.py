"""The hub's token: where ``hf auth login`` and the hub's own tools leave it.

Read here and not by ``huggingface_hub``: that takes half a second to import, and may renew a token
over the network where only whether there is one is asked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from local_opus.errors import BadInputError, LocalOpusError

#: The first that is set counts; the second is the name of older tools.
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
#: Bytes; a token has some forty.
_LIMIT = 4096
#: What may stand behind "Bearer" (RFC 6750, 2.1). A header with anything else is refused by those
#: who send it, in words that hold the token.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")


def hub_token(environ: Mapping[str, str]) -> str | None:
    """Return the token of this machine's user, None where there is none.

    Raises BadInputError for what is no token, and LocalOpusError for a file of one that can't be
    read; neither says what was found there.
    """
    for name in _VARIABLES:
        if word := environ.get(name, "").strip():
            return _checked(word, name)
    path = token_file(environ)
    if path is None:
        return None
    try:
        with open(path, "rb") as stream:
            data = stream.read(_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise LocalOpusError(
            f"{path}: {(error.strerror or str(error)).lower()}",
            "It is where the hub's token is looked for: correct its mode, or set HF_TOKEN.",
        ) from error
    word = data.decode("utf-8", errors="replace").strip()
    return _checked(word, path) if word else None


def _checked(word: str, where: str) -> str:
    if len(word) > _LIMIT or _TOKEN.match(word) is None:
        raise BadInputError(
            f"{where}: holds no token: one is a single word of letters, digits and signs",
            "Copy it anew from the hub's page of access tokens, or unset it.",
        )
    return word


def token_file(environ: Mapping[str, str]) -> str | None:
    """Return the token's file, by the variables of ``huggingface_hub``."""
    if named := environ.get("HF_TOKEN_PATH"):
        return os.path.expanduser(named)
    if home := environ.get("HF_HOME"):
        return os.path.join(os.path.expanduser(home), "token")
    cache = environ.get("XDG_CACHE_HOME") or (
        f"{environ['HOME']}/.cache" if environ.get("HOME") else None
    )
    return f"{cache}/huggingface/token" if cache is not None else None

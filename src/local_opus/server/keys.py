"""Who may ask: the keys of clients, and the guard that wants one on every route.

The keys themselves are nowhere here, only their digests: a credential of the service, which systemd
(or who starts the server without it) puts into ``$CREDENTIALS_DIRECTORY``.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import time

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from local_opus.errors import BadInputError, ProblemFoundError
from local_opus.server.http_errors import ApiError
from local_opus.server.settings import Settings
from local_opus.values.keys import LIMIT, Keyring, parse_keyring

log = logging.getLogger(__name__)

#: The credential's name, and the variable that says where it lies (systemd.exec(5)).
NAME = "api-keys"
VARIABLE = "CREDENTIALS_DIRECTORY"
#: Characters of a key at most; a longer word is none.
LONGEST = 512
#: Seconds between two lines of the log that tell of wrong keys, however many there are.
_TELL_SECONDS = 60.0
_REMEDY = "Run `local-opus keys require on`: it puts the credential in its place again."


class Keys:
    """Tells whose a key is.

    Each digest is kept under a tag that a secret of this process makes of it. Whoever asks can't
    foresee a tag, so how long the table takes to find one, or none, tells nothing of the keys; and
    it takes as long for one key as for a thousand.
    """

    def __init__(self, ring: Keyring) -> None:
        self._secret = secrets.token_bytes(32)
        self._names = {self._tag(bytes.fromhex(one.sha256)): one.name for one in ring.keys}

    def _tag(self, digest: bytes) -> bytes:
        return hmac.digest(self._secret, digest, "sha256")

    def owner(self, word: str) -> str | None:
        """Return the name of the key ``word``; None: it is none."""
        if not 0 < len(word) <= LONGEST:
            return None
        digest = hashlib.sha256(word.encode("latin-1", errors="replace")).digest()
        return self._names.get(self._tag(digest))


def load(settings: Settings) -> Keys | None:
    """Return the keys of this service; None: it wants none.

    It wants one where its settings say so, and also where it was given the credential alone: a
    config that was lost opens nothing. Raises ProblemFoundError where the credential is missing or
    damaged: nothing is served then, and no older settings either.
    """
    folder = os.environ.get(VARIABLE, "")
    path = f"{folder}/{NAME}" if folder else NAME
    data = _read(path) if folder else None
    if data is not None:
        try:
            return Keys(parse_keyring(data, path))
        except BadInputError as error:
            raise ProblemFoundError(error.message, error.remedy) from error
    if settings.keys == "required":
        raise ProblemFoundError(
            f"{path}: this server wants keys, and the credential that holds them is not there",
            _REMEDY,
        )
    return None


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read(LIMIT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ProblemFoundError(f"{path}: {reason}, and it holds who may ask", _REMEDY) from error


class KeyGuard:
    """Refuses what carries no right key, whatever it asks for.

    OpenAI's clients send ``Authorization: Bearer KEY``, Anthropic's ``x-api-key: KEY``; of a
    request that carries both, one has to be right. The answer is sent before the body is read.
    """

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys
        self._wrong = 0
        self._told_at = float("-inf")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass the request on."""
        if scope["type"] == "http":
            words = presented(Headers(scope=scope))
            if not any(self._keys.owner(word) is not None for word in words):
                self._tell()
                await _refusal(given=bool(words)).response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _tell(self) -> None:
        self._wrong += 1
        if time.monotonic() - self._told_at >= _TELL_SECONDS:
            log.warning("%d requests without a right key were refused", self._wrong)
            self._told_at, self._wrong = time.monotonic(), 0


def presented(headers: Headers) -> list[str]:
    """Return the keys that a request carries. A header that comes twice counts as none."""
    words = []
    bearers, plain = headers.getlist("authorization"), headers.getlist("x-api-key")
    if len(bearers) == 1:
        scheme, _, word = bearers[0].strip().partition(" ")
        if scheme.casefold() == "bearer" and word.strip():
            words.append(word.strip())
    if len(plain) == 1 and plain[0].strip():
        words.append(plain[0].strip())
    return words


def _refusal(*, given: bool) -> ApiError:
    """Return the answer (RFC 6750, 3): an error is named only where there was a key."""
    challenge = 'Bearer realm="local-opus"'
    if given:
        text, challenge = "The API key is not right.", f'{challenge}, error="invalid_token"'
    else:
        text = "This server wants an API key: send Authorization: Bearer KEY, or x-api-key: KEY."
    return ApiError(401, text, code="invalid_api_key", headers={"WWW-Authenticate": challenge})

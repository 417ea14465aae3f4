"""What a key is made of, and what may name one."""

from __future__ import annotations

import hashlib
import re
import secrets

from local_opus.errors import BadInputError, did_you_mean
from local_opus.values.keys import KEY_NAME, OWN

#: Marks a key of this program, for who finds one where it should not be.
PREFIX = "sk-lo-"
#: Random bytes of a key that is made here.
_RANDOM = 32
#: Characters of a key: fewer could be guessed from the digest that is kept.
SHORTEST, LONGEST = 20, 512
#: Visible ASCII: what can stand in a header (RFC 9110, 5.5), without blanks.
_KEY = re.compile(r"[!-~]+\Z")
_NAME = re.compile(KEY_NAME.replace(r"\z", r"\Z"))
CLOUDS = ("anthropic", "openai")


def make() -> str:
    """Return a new key."""
    return PREFIX + secrets.token_urlsafe(_RANDOM)


def digest(key: str) -> str:
    """Return what is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def checked(text: str, what: str, *, shortest: int = SHORTEST) -> str:
    """Return the key in ``text``, which may end in a line break.

    Raises BadInputError that says ``what`` it is and what is wrong with it, and nothing of it.
    """
    key = text.removesuffix("\n").removesuffix("\r")
    remedy = f"Give one word of {shortest} to {LONGEST} characters, such as `keys add` makes."
    if not key:
        raise BadInputError(f"{what}: there is no key (it is empty)", remedy)
    if len(key) > LONGEST:
        raise BadInputError(f"{what}: longer than {LONGEST} characters, so it is no key", remedy)
    if _KEY.match(key) is None:
        found = "more than one line" if "\n" in key else "a blank, or a character that is not ASCII"
        raise BadInputError(f"{what}: holds {found}, so it is no key", remedy)
    if len(key) < shortest:
        raise BadInputError(f"{what}: {len(key)} characters are too few for a key", remedy)
    return key


def checked_name(name: str) -> str:
    """Return a name for a client's key. Raises BadInputError."""
    if _NAME.match(name) is None:
        raise BadInputError(
            f"{name[:64]!a}: no name for a key",
            "Use letters, digits, '.', '_' and '-', 64 at most, the first a letter or a digit.",
        )
    if name == OWN:
        raise BadInputError(f"{name}: the key of the node's own tools", "Choose another name.")
    return name


def unknown(name: str, known: list[str]) -> BadInputError:
    """Return what says that there is no key of this name."""
    return BadInputError(
        f"{name[:64]}: there is no key of that name.{did_you_mean(name, known)}",
        "See `local-opus keys list`.",
    )

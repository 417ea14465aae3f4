"""What the user gave: words that are known, and how to go about an install."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from local_opus.devices import names
from local_opus.errors import BadInputError


@dataclass(frozen=True)
class Given:
    """What the user gave; None: not given."""

    profile: str | None
    model: str | None
    #: ``auto`` or a device's name.
    device: str | None
    use_case: str | None
    port: int | None
    scope: str | None
    root: str
    #: The flags that were typed or set in the environment, of those that a server alone has.
    insisted: tuple[str, ...] = ()
    #: None: as the profile says.
    tune: bool | None = None
    linger: bool | None = None


@dataclass(frozen=True)
class Way:
    """How to go about it: whom to ask, what to print and to write."""

    yes: bool
    dry_run: bool
    quiet: bool
    as_json: bool
    #: Where the answers go; None: nowhere, unless a person says so at the end.
    save_answers: str | None = None
    #: Whether what is not given is asked for.
    interactive: bool = False
    accept_license: bool = False


def one_profile(flags: Sequence[str], name: str | None) -> str | None:
    """Return the one profile that was named. Raises BadInputError for several."""
    named = [*flags, *([name] if name else [])]
    if len(named) > 1:
        raise BadInputError(f"profiles {' and '.join(named)}: choose one", "Give one of them.")
    return named[0] if named else None


def parse_device(word: str) -> str | None:
    """Return the device's name, such as GPU.1, in any case; None for auto.

    Raises BadInputError with the nearest name.
    """
    if word.casefold() == names.AUTO:
        return None
    if not names.is_name(word.upper()):
        raise BadInputError(
            f"--device {word}: no such device.{names.near(word)}",
            f"Choose one of {names.CHOICES}.",
        )
    return word.upper()


def device_word(word: str) -> str:
    """Return ``auto`` or the device's name. Raises BadInputError with the nearest name."""
    return parse_device(word) or names.AUTO

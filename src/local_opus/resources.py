"""The data files that belong to this program: profiles, templates, units, locks, the catalog.

In a checkout they lie in folders at its root; an installed package carries them below ``data/``.
With ``program`` the one reader of files beside the host door: it reads only its own files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from local_opus.errors import BadInputError, LocalOpusError, did_you_mean

Kind = Literal["profiles", "templates", "systemd", "locks"]
KINDS: tuple[Kind, ...] = ("profiles", "templates", "systemd", "locks")

_PACKAGE = Path(__file__).resolve().parent
#: What a folder of the checkout holds that belongs to the kind; the locks lie at its root.
_PATTERNS: dict[Kind, str] = {
    "profiles": "*.toml",
    "templates": "*.j2",
    "systemd": "*.j2",
    "locks": "requirements*.lock",
}
#: No part of the program: nothing that is installed comes from it.
_NOT_OURS = frozenset({"requirements-test.lock"})


def folder(kind: Kind) -> Path:
    """Return the folder with the files of a kind. Raises LocalOpusError where it is missing."""
    packaged = _PACKAGE / "data" / kind
    checkout = _PACKAGE.parent.parent
    in_checkout = checkout if kind == "locks" else checkout / kind
    if packaged.is_dir():
        return packaged
    if (checkout / "pyproject.toml").is_file() and in_checkout.is_dir():
        return in_checkout
    raise LocalOpusError(
        f"{packaged}: the program's own {kind} are missing",
        "The installation is damaged: install it again from the checkout.",
    )


def names(kind: Kind) -> list[str]:
    """Return the sorted names of the files of a kind."""
    found = {path.name for path in folder(kind).glob(_PATTERNS[kind]) if path.is_file()}
    return sorted(found - _NOT_OURS)


def read(kind: Kind, name: str) -> str:
    """Return the text of one file. Raises BadInputError for a name that is not among them."""
    known = names(kind)
    if name not in known:
        raise BadInputError(
            f"{kind}: there is no file {name!r}.{did_you_mean(name, known)}",
            f"The files are: {', '.join(known) or 'none'}.",
        )
    return (folder(kind) / name).read_text(encoding="utf-8")


def catalog_text() -> str:
    """Return the text of the catalog, ``catalog/models.toml`` of the package."""
    return (_PACKAGE / "catalog" / "models.toml").read_text(encoding="utf-8")

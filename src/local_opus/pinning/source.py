"""What a word names: a repository of the hub, an address, or a path."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from local_opus.catalog.licenses import HUB
from local_opus.errors import BadInputError
from local_opus.weights.sources.hub import endpoint
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.host import Host

_PART = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,95}"
_REPO = re.compile(rf"(?:hf:)?({_PART}/{_PART})(?:@(.+))?\Z")
#: Below a repository's page: what a revision is shown by, and a file at one.
_VIEWS = ("tree", "blob", "resolve")
_REMEDY = (
    "Name a repository (ORGANISATION/NAME, with @REVISION), an https address of a .gguf file, or "
    "the path of a file or folder."
)


@dataclass(frozen=True)
class Repository:
    """A repository of the hub; ``file`` where an address names one of its files."""

    repo: str
    revision: str | None
    file: str | None = None

    @property
    def what(self) -> str:
        """Say what it is."""
        return f"the repository {self.repo}"


@dataclass(frozen=True)
class At:
    """An address of one file."""

    url: str

    @property
    def what(self) -> str:
        """Say what it is."""
        return "an address"


@dataclass(frozen=True)
class Place:
    """A file or folder of this machine, by its whole path."""

    path: str

    @property
    def what(self) -> str:
        """Say what it is."""
        return "a file or folder"


def parse(host: Host, text: str) -> Repository | At | Place:
    """Return what ``text`` names; a path must be there. Raises BadInputError."""
    if not text or not text.isprintable():
        raise BadInputError(f"{printable(text)!r} names nothing", _REMEDY)
    if "://" in text:
        return _address(host, text)
    match = _REPO.match(text)
    if text.startswith("hf:"):
        if match is None:
            raise BadInputError(f"{printable(text)}: is no repository of the hub", _REMEDY)
        return Repository(match[1], match[2])
    path = os.path.abspath(text)
    found = host.files.stat(path, follow=True)
    if match is None or text.startswith(("/", ".")):
        if found is not None:
            return Place(path)
    elif found is None:
        return Repository(match[1], match[2])
    elif found.kind == "file":
        return Place(path)
    else:
        raise BadInputError(
            f"{text}: is a folder here, and may be a repository of the hub",
            f"Say which: hf:{text} or ./{text}.",
        )
    raise BadInputError(
        f"{printable(text)}: no file, no folder and no repository has this name", _REMEDY
    )


def _address(host: Host, text: str) -> Repository | At:
    for hub in dict.fromkeys((endpoint(host), HUB)):
        if text.startswith(f"{hub}/"):
            return _page(text, text.removeprefix(f"{hub}/"))
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadInputError(f"{printable(text)}: no https address", _REMEDY)
    return At(text)


def _page(text: str, below: str) -> Repository:
    """Return what a page of the hub shows."""
    words = unquote(below.partition("?")[0].partition("#")[0]).strip("/").split("/")
    match = _REPO.match("/".join(words[:2]))
    known = words[2:] == [] or (words[2] in _VIEWS and words[3:] != [])
    if match is None or match[2] is not None or not known:
        raise BadInputError(f"{printable(text)}: is no page of a model", _REMEDY)
    revision = words[3] if words[3:] else None
    file = "/".join(words[4:]) or None
    return Repository(match[1], revision, file if words[2:3] != ["tree"] else None)

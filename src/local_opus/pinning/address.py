"""A file at an https address as a catalog entry: of the size and sha256 that the user states."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from local_opus.errors import BadInputError, MachineCannotError
from local_opus.host.downloads import Web
from local_opus.host.leading import is_closed_way
from local_opus.pinning import gguf_traits, reading
from local_opus.pinning.draft import UNKNOWN_LICENSE, Asked, Draft
from local_opus.values import CatalogFile, HttpsSource, License, Trust
from local_opus.weights.sources.replies import Address
from local_opus.weights.sources.web import trusted
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.host import Host
    from local_opus.pinning.source import At

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def draft(host: Host, source: At, asked: Asked) -> Draft:
    """Return the draft of an entry. Raises as ``pinning.pin`` does."""
    size, sha256 = _stated(source, asked)
    addresses = [source.url, *asked.mirrors]
    parts = [_split(url) for url in addresses]
    name = parts[0][1]
    other = next((url for url, (_, own) in zip(addresses, parts, strict=True) if own != name), None)
    if other is not None:
        raise BadInputError(
            f"--mirror {printable(other)}: ends in another name than {name}",
            "Name the same file at the mirror.",
        )
    if not name.endswith(".gguf"):
        raise MachineCannotError(
            f"{printable(name)}: of an address, this version serves a .gguf file alone",
            "Pin an OpenVINO IR from a repository of the hub, or from a folder.",
        )
    if gguf_traits.SPLIT.search(name):
        raise MachineCannotError(
            f"{printable(name)}: is a part of a GGUF in several files",
            "Put them together first: this version converts one file only.",
        )
    with Web(trusted(host, addresses)) as web:
        info = reading.header(web, Address(source.url), size)
    return Draft(
        stem=name.removesuffix(".gguf"),
        traits=gguf_traits.traits(info, name),
        license=License(id=printable(asked.license or UNKNOWN_LICENSE)),
        source=HttpsSource(kind="https", bases=tuple(base for base, _ in parts)),
        files=(CatalogFile(path=name, size=size, sha256=sha256),),
        trust=Trust.PINNED,
        figures=("size and sha256 as the user stated them when it was pinned",),
        notes=() if asked.license else ("no licence was stated: --license says which it is",),
    )


def _stated(source: At, asked: Asked) -> tuple[int, str]:
    """Return size and sha256. Raises BadInputError where the user does not state them."""
    lacking = [
        name
        for name, value in (("--size", asked.size), ("--sha256", asked.sha256))
        if value is None
    ]
    if asked.size is None or asked.sha256 is None:
        raise BadInputError(
            f"{printable(source.url)}: {' and '.join(lacking)} must be given",
            "Take them from where the file's maker states them: what a server sends can't prove"
            " itself.",
        )
    if asked.size <= 0:
        raise BadInputError(f"--size {asked.size}: is no size of a file", "Give its bytes.")
    digest = asked.sha256.lower()
    if _SHA256.match(digest) is None:
        raise BadInputError(
            f"--sha256 {printable(asked.sha256)}: is no sha256", "Give its 64 hexadecimal digits."
        )
    return asked.size, digest


def _split(url: str) -> tuple[str, str]:
    """Return what an address begins with and the file's name. Raises BadInputError."""
    parts = urlsplit(url)
    wrong = None
    if not is_closed_way(url):
        wrong = "is not https"
    elif parts.username or parts.password:
        wrong = "holds a name or a password, which a catalog must not"
    elif parts.query or parts.fragment or not url.isprintable() or " " in url:
        wrong = "must be plain: without spaces, ? and #"
    base, _, last = url.rpartition("/")
    name = unquote(last)
    sound = name.isprintable() and "/" not in name and name not in {"", ".", ".."}
    if wrong is None and (not sound or "\\" in name or quote(name) != last or not parts.path[1:]):
        wrong = "ends in no plain file name"
    if wrong is not None:
        shown = f"{parts.hostname}{parts.path}"  # not its password
        raise BadInputError(f"{printable(shown)}: {wrong}", "Name the https address of one file.")
    return base, name

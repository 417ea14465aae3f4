"""This program's own files: what an install copies into its environment.

With ``resources`` the one reader of files beside the host door: it reads only its own package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from local_opus import __version__, resources

_PACKAGE = Path(__file__).resolve().parent
_PYTHON = (".py", ".toml", ".html", ".css", ".js")


def files() -> Iterator[tuple[str, bytes]]:
    """Yield the path relative to the package and the bytes of every file of the program, sorted."""
    found: dict[str, Path] = {}
    for path in _PACKAGE.rglob("*"):
        relative = path.relative_to(_PACKAGE)
        if path.is_file() and path.suffix in _PYTHON and relative.parts[0] != "data":
            found[relative.as_posix()] = path
    for kind in resources.KINDS:
        for name in resources.names(kind):
            found[f"data/{kind}/{name}"] = resources.folder(kind) / name
    for relative_path in sorted(found):
        yield relative_path, found[relative_path].read_bytes()


def digest() -> str:
    """Return the SHA-256 of all files and their names: it changes with any of them."""
    state = hashlib.sha256(__version__.encode())
    for path, data in files():
        state.update(f"\0{path}\0{len(data)}\0".encode())
        state.update(data)
    return state.hexdigest()

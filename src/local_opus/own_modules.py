"""Keeps this program's modules in memory while it removes the environment that it runs from.

Python reads a module when it is first imported, and libraries import some of theirs late: a table
of characters, the words of an error. Once an uninstall has removed the environment they would be
missing, and the end of a run that worked would be a traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, spec_from_loader
from pathlib import Path
from types import ModuleType


class KeptModules(MetaPathFinder, InspectLoader):
    """Finds and loads modules from their sources in memory, after everything else has failed."""

    def __init__(self, sources: Mapping[str, tuple[Path, bytes]]) -> None:
        self._sources = sources

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the interface's
        target: ModuleType | None = None,  # noqa: ARG002 - the interface's
    ) -> ModuleSpec | None:
        """Return how to load a module that is kept, None for any other."""
        if fullname not in self._sources:
            return None
        return spec_from_loader(fullname, self, origin=str(self._sources[fullname][0]))

    def get_source(self, fullname: str) -> str:
        """Return a module's source. Raises ImportError for one that is not kept."""
        if fullname not in self._sources:
            raise ImportError(f"{fullname}: not kept", name=fullname)
        return decode_source(self._sources[fullname][1])

    def is_package(self, fullname: str) -> bool:
        """Tell whether a module is a package."""
        return fullname in self._sources and self._sources[fullname][0].name == "__init__.py"


def keep(folder: str) -> bool:
    """Keep every module of the packages in use, where this program runs from below ``folder``.

    Return whether it does. Modules in C are kept by being loaded: those that this program uses
    come with the first import of their packages.
    """
    prefix = Path(sys.prefix).resolve()
    if not prefix.is_relative_to(Path(folder).resolve()):
        return False
    sources: dict[str, tuple[Path, bytes]] = {}
    for top in {name.partition(".")[0] for name in tuple(sys.modules)}:
        origin = getattr(sys.modules.get(top), "__file__", None)
        if origin is not None and Path(origin).resolve().is_relative_to(prefix):
            sources.update(_sources(top, Path(origin)))
    sys.meta_path.append(KeptModules(sources))
    return True


def _sources(top: str, origin: Path) -> Iterator[tuple[str, tuple[Path, bytes]]]:
    """Yield the names of a top-level module and all below it, with their files and contents."""
    if origin.name != "__init__.py":
        if origin.suffix == ".py":
            yield top, (origin, origin.read_bytes())
        return
    for path in origin.parent.rglob("*.py"):
        parts = path.relative_to(origin.parent.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        yield name, (path, path.read_bytes())

"""Whether the files of a folder are still those that were verified: loaders open them by name."""

from __future__ import annotations

from collections.abc import Mapping

from local_opus.weights.door import Reader
from local_opus.weights.stamps import STAT_NAME, FileStamp, as_stamp
from local_opus.weights.structure import printable

#: By path: what the kernel says of a file.
Seen = Mapping[str, FileStamp]


def look(host: Reader, folder: str) -> Seen:
    """Return what the kernel says now of each file but the stamps; nothing where no folder is."""
    try:
        return {path: as_stamp(stat) for path, stat in host.files.walk(folder) if path != STAT_NAME}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def changed_since(host: Reader, folder: str, seen: Seen) -> str | None:
    """Say which file of ``folder`` is not the one that was ``seen``; None when all are.

    Who had them loaded asks this afterwards: what was loaded is then what was proven.
    """
    now = look(host, folder)
    for path in sorted(seen.keys() | now.keys()):
        if seen.get(path) != now.get(path):
            went = "was changed or replaced" if path in now else "was removed"
            return f"{printable(path)}: {went if path in seen else 'was added'}"
    return None

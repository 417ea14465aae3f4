"""What lies at a path that is to be verified: one file, or all files of a folder, within limits."""

from __future__ import annotations

from posixpath import basename, dirname

from local_opus.errors import BadInputError
from local_opus.weights.door import Reader, Stat
from local_opus.weights.structure import printable

#: A folder that lies so many names below is not entered: paths are resolved name by name, so a
#: tree made for that would take hours. Repositories of a hub have three or four.
DEEPEST = 64
#: Files of a folder at most: each takes some 3 KiB of memory.
MOST_FILES = 20_000


def where(host: Reader, path: str) -> tuple[str | None, str]:
    """Return the name of the file that ``path`` is, and its folder; None and a folder that it is.

    Raises BadInputError where it is neither.
    """
    stat = host.files.stat(path, follow=True)
    if stat is not None and stat.kind == "folder":
        return None, path
    if stat is not None and stat.kind == "file":
        return basename(path), dirname(path)
    what = "not found" if stat is None else "neither a folder nor a file"
    raise BadInputError(
        f"{printable(path)}: {what}", "Name a folder with weights, or a model of `models list`."
    )


def contents(host: Reader, folder: str, only: str | None = None) -> dict[str, Stat]:
    """Return what lies in a folder by path; just ``only`` where that is named, whatever is beside.

    A folder as deep as DEEPEST stands for what it holds. Raises BadInputError where there is more
    than a folder of weights holds.
    """
    if only is not None:
        stat = host.files.stat(f"{folder}/{only}")
        return {only: stat} if stat is not None else {}
    found: dict[str, Stat] = {}
    for path, stat in host.files.walk(folder, depth=DEEPEST):
        found[path] = stat
        if len(found) > MOST_FILES:
            raise BadInputError(
                f"{printable(folder)}: holds more than {MOST_FILES:,} files, so it is no folder of "
                "weights",
                "Name the folder in it that holds the weights, or a file.",
            )
    return found

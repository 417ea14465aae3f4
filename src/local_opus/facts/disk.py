"""Disk: the file system that will hold the weights."""

from __future__ import annotations

from dataclasses import dataclass

from local_opus.errors import MachineCannotError
from local_opus.host import Host, Space
from local_opus.values import DiskFacts


@dataclass(frozen=True)
class Raw:
    """What statvfs says of the file system of ``path``."""

    path: str
    space: Space


def read(host: Host, path: str) -> Raw:
    """Read the space at ``path`` or its nearest existing parent.

    Raises MachineCannotError when the path can't be walked (a loop of links, no permission).
    """
    try:
        return Raw(path, host.files.space(path))
    except OSError as error:
        raise MachineCannotError(
            f"{path}: its free space can't be read ({(error.strerror or str(error)).lower()})",
            "Choose a folder that this user can reach.",
        ) from error


def parse(raw: Raw) -> DiskFacts:
    """Return the disk facts."""
    return DiskFacts(
        path=raw.path,
        total=raw.space.total,
        free=raw.space.free,
        free_inodes=raw.space.free_inodes,
    )

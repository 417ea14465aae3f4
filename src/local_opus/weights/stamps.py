"""What the kernel says of files when they are proven, for quick verification.

``weights.stat.json`` beside the manifest holds sizes, inodes and times.
"""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import ValidationError

from local_opus.values import RelativePath, Sha256, Value
from local_opus.weights.door import Reader, Stat

STAT_NAME = "weights.stat.json"
#: Bytes that are read of it at most; a file takes about 200.
MAX_SIZE = 4 * 1024 * 1024


class FileStamp(Value):
    """What the kernel says of a file that nobody touched since."""

    size: int
    inode: int
    mtime_ns: int
    ctime_ns: int


class Stamps(Value):
    """The stamps of all files, bound to one manifest by its sha256.

    ``sum`` is over the rest: a stamp that differs tells of a file that was touched, or copied, and
    a sum that differs of damage. None: written by a version that had no sums.
    """

    schema_version: Literal[1] = 1
    manifest_sha256: Sha256
    files: dict[RelativePath, FileStamp]
    sum: Sha256 | None = None

    def written(self) -> bytes:
        """Return the file that holds them, with their sum."""
        body = self.model_dump_json(exclude={"sum"})
        summed = self.model_copy(update={"sum": hashlib.sha256(body.encode()).hexdigest()})
        return (summed.model_dump_json(indent=1) + "\n").encode()


def as_stamp(stat: Stat) -> FileStamp:
    """Return the stamp in what the kernel says."""
    return FileStamp(
        size=stat.size, inode=stat.inode, mtime_ns=stat.mtime_ns, ctime_ns=stat.ctime_ns
    )


def stamp_of(host: Reader, path: str) -> FileStamp | None:
    """Return the stamp of a regular file, None for anything else."""
    stat = host.files.stat(path)
    return as_stamp(stat) if stat is not None and stat.kind == "file" else None


def read_stamps(host: Reader, folder: str, manifest_sha256: str) -> dict[str, FileStamp]:
    """Return the stamps that belong to this manifest; none where they are missing or another's.

    Without stamps the quick way is closed and files are hashed, so nothing is lost by an empty
    answer.
    """
    stamps = _read_stamps(host, folder)
    if not isinstance(stamps, Stamps) or stamps.manifest_sha256 != manifest_sha256:
        return {}
    return stamps.files


def stamps_damage(host: Reader, folder: str) -> str | None:
    """Say why the stamps can't be believed; None where they can, or there are none.

    Those of a copied folder are as they were written, though they fit its files no longer.
    """
    stamps = _read_stamps(host, folder)
    return stamps if isinstance(stamps, str) else None


def _read_stamps(host: Reader, folder: str) -> Stamps | str | None:
    """Return the stamps, what is wrong with them, or None where there are none."""
    try:
        with host.files.open_read(f"{folder}/{STAT_NAME}", follow=False) as stream:
            data = stream.read(MAX_SIZE)
        stamps = Stamps.model_validate_json(data)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or str(error)
    except ValidationError:
        return "does not have the form in which it is written"
    if stamps.sum is not None and stamps.written() != data:
        return "its sum is not that of its content"
    return stamps

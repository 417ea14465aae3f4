"""The outer structure of NumPy arrays and HDF5 files.

Sources: the format's text in ``numpy/lib/format.py``, and section II.A (superblock) of the HDF5
File Format Specification 3.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod
from typing import BinaryIO

from local_opus.values import Verdict
from local_opus.weights.structure import (
    Cursor,
    Refusal,
    RefusedError,
    corrupt,
    truncated,
)

#: Bytes of an array's header at most; numpy itself refuses over 10,000 characters.
MAX_HEADER = 64 * 1024
_MAGIC = b"\x93NUMPY"
_OBJECT = re.compile(r"""['"][|<>=]?O\d{0,2}['"]""")
_PLAIN = re.compile(
    r"\{\s*'descr':\s*'[<>|=]?[a-zA-Z](\d{1,4})',\s*'fortran_order':\s*(?:True|False),"
    r"\s*'shape':\s*\(([\d, L]{0,600})\),?\s*\}\s*"
)
_UNICODE = re.compile(r"'descr':\s*'[<>|=]?U")
_BYTES_OF_UNICODE = 4
_MAX_DIGITS = 19
_SUPERBLOCK = 96


@dataclass(frozen=True)
class ContainerInfo:
    """What a sound container says of itself."""

    format: str
    members: int

    def summary(self) -> dict[str, int | str | bool | None]:
        """Return the facts that a manifest records."""
        return {"format": self.format, "members": self.members}


def check_npy(stream: BinaryIO, size: int) -> ContainerInfo | Refusal:
    """Check a NumPy array of ``size`` bytes: one of objects is a pickle inside.

    Raises OSError as reading does, and nothing else.
    """
    try:
        return _npy(Cursor(stream, size, MAX_HEADER + _SUPERBLOCK))
    except RefusedError as error:
        return error.refusal


def _npy(cursor: Cursor) -> ContainerInfo:
    if cursor.take(len(_MAGIC), "the magic") != _MAGIC:
        raise corrupt("does not begin with \\x93NUMPY")
    version = cursor.take(2, "the version")[0]
    width = 2 if version == 1 else 4
    length = int.from_bytes(cursor.take(width, "the header's length"), "little")
    if length > MAX_HEADER:
        raise corrupt(f"the header claims {length} bytes; at most {MAX_HEADER} are sane")
    header = cursor.take(length, "the header").decode("latin-1")
    if _OBJECT.search(header) is not None:
        raise RefusedError(Verdict.UNSAFE, "an array of objects: a pickle, loading it runs code")
    plain = _PLAIN.fullmatch(header)
    if plain is not None:
        dims = [int(text.strip(" L")) for text in plain[2].split(",") if text.strip(" L").isdigit()]
        if any(dim >= 10**_MAX_DIGITS for dim in dims):
            raise corrupt("its shape overflows 64 bits")
        width = _BYTES_OF_UNICODE if _UNICODE.search(header) else 1
        needed = cursor.position + prod(dims) * int(plain[1]) * width
        if needed > cursor.size:
            raise truncated(f"the array needs {needed} bytes, the file has {cursor.size}")
    return ContainerInfo("NumPy array", 1)


def check_hdf5(stream: BinaryIO, size: int) -> ContainerInfo | Refusal:
    """Check an HDF5 file of ``size`` bytes as far as its superblock goes.

    Raises OSError as reading does, and nothing else.
    """
    block = stream.read(_SUPERBLOCK)
    version = block[8] if len(block) == _SUPERBLOCK else None
    places = {0: (13, 40), 1: (13, 44), 2: (9, 28), 3: (9, 28)}
    if version is None:
        return Refusal(Verdict.TRUNCATED, f"{size} bytes are no whole HDF5 superblock")
    if version not in places:
        return Refusal(Verdict.CORRUPT, f"HDF5 superblock version {version} is not known")
    width_at, end_at = places[version]
    end = int.from_bytes(block[end_at : end_at + 8], "little")
    if block[width_at] == 8 and end > size:  # noqa: PLR2004 - bytes of an address
        return Refusal(Verdict.TRUNCATED, f"the HDF5 file ends at {end}, there are {size} bytes")
    return ContainerInfo("HDF5", 1)

"""Looks into archives for pickles, without unpacking them.

Layouts: sections 4.3 and 4.5.3 of PKWARE's APPNOTE.TXT (zip), ``ustar`` of POSIX pax (tar).
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from typing import BinaryIO

from local_opus.values import Verdict
from local_opus.weights.arrays import MAX_HEADER, ContainerInfo, check_npy
from local_opus.weights.pickles import begins_as_pickle
from local_opus.weights.structure import Refusal, printable

#: Bytes of a zip's list of members, and members, at most; a checkpoint of 10,000 tensors has 1 MB.
MAX_LIST = 8 * 1024 * 1024
MAX_MEMBERS = 65_536
#: Bytes of a Keras config that are unpacked.
_MAX_CONFIG = 8 * 1024 * 1024
_END = struct.Struct("<4s4H2IH")
_END64_PLACE = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_ENTRY = struct.Struct("<4s6H3I5H2I")
_LOCAL = struct.Struct("<4s5H3I2H")
_LONGEST_COMMENT = 65_535
_FULL32 = 0xFFFFFFFF
_ZIP64 = 1
_DEFLATED = 8
_BLOCK = 512
_PICKLES = re.compile(r"(?:.*\.(?:pkl|pickle)|(?:.*/)?pickle)", re.IGNORECASE | re.DOTALL)
_LAMBDA = re.compile(rb'"class_name"\s*:\s*"Lambda"')


@dataclass(frozen=True)
class _Member:
    name: str
    offset: int
    method: int


def check_zip(stream: BinaryIO, size: int, *, weights: bool) -> ContainerInfo | Refusal:
    """Check the zip archive of ``size`` bytes; ``weights``: its name says that it holds weights.

    Refused are pickles in it, arrays of objects, Keras' Lambda layers, a list of members that can't
    be read, and weights of a kind that is not known. Raises OSError as reading does.
    """
    try:
        members = _members(stream, size)
    except (ValueError, struct.error) as error:
        return _unsafe(f"a zip archive whose list of members can't be read: {error}")
    for member in members:
        if _PICKLES.fullmatch(member.name):
            name = printable(member.name)
            return _unsafe(f"a zip archive with {name!r} in it: a pickle, loading it runs code")
    arrays = [member for member in members if member.name.endswith(".npy")]
    for member in arrays:
        data = _unpack(stream, size, member, MAX_HEADER)
        answer = check_npy(BytesIO(data), size) if data else None
        if isinstance(answer, Refusal) and answer.verdict is Verdict.UNSAFE:
            return _unsafe(f"{printable(member.name)!r} in it is {answer.reason}")
    if members and len(arrays) == len(members):
        return ContainerInfo("NumPy arrays", len(members))
    names = {member.name: member for member in members}
    if {"config.json", "metadata.json"} <= names.keys():
        config = _unpack(stream, size, names["config.json"], _MAX_CONFIG)
        if _LAMBDA.search(config):
            return _unsafe("a Keras model with a Lambda layer: loading it runs code")
        return ContainerInfo("Keras", len(members))
    if weights:
        return _unsafe("a zip archive in place of weights: loading one may run code")
    return ContainerInfo("zip", len(members))


def check_tar(stream: BinaryIO, size: int, *, weights: bool) -> ContainerInfo | Refusal:
    """Check the tar archive of ``size`` bytes as ``check_zip`` does a zip."""
    if weights:
        return _unsafe("a tar archive in place of weights: old checkpoints are pickles in a tar")
    at = count = 0
    while at + _BLOCK <= size and count < MAX_MEMBERS:
        stream.seek(at)
        block = stream.read(_BLOCK)
        if not block.strip(b"\0"):
            break
        name = block[:100].rstrip(b"\0").decode("latin-1")
        if _PICKLES.fullmatch(name):
            shown = printable(name)
            return _unsafe(f"a tar archive with {shown!r} in it: a pickle, loading it runs code")
        length = _octal(block[124:136])
        if length is None:
            return Refusal(Verdict.CORRUPT, f"the tar archive is broken at byte {at}")
        at += _BLOCK + -(-length // _BLOCK) * _BLOCK
        count += 1
    if at > size:
        return Refusal(Verdict.TRUNCATED, f"the tar archive needs {at} bytes, there are {size}")
    return ContainerInfo("tar", count)


def check_compressed(stream: BinaryIO, size: int, *, weights: bool) -> ContainerInfo | Refusal:
    """Check a compressed file of ``size`` bytes by the first bytes that are packed in it."""
    if weights:
        return _unsafe("a compressed archive in place of weights: what it holds can't be told")
    if begins_as_pickle(_inner(stream.read(min(size, MAX_HEADER)))):
        return _unsafe("a compressed pickle: loading it runs code")
    return ContainerInfo("compressed", 1)


def _unsafe(reason: str) -> Refusal:
    return Refusal(Verdict.UNSAFE, reason)


def _octal(field: bytes) -> int | None:
    if field[:1] >= b"\x80":  # GNU's base 256
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if not text:
        return 0
    return int(text, 8) if re.fullmatch(rb"[0-7]+", text) else None


def _inner(data: bytes) -> bytes:
    """Return the first bytes that are packed in ``data``; none where that can't be told."""
    if data.startswith(b"\x1f\x8b"):
        try:
            return zlib.decompressobj(wbits=31).decompress(data, _BLOCK)
        except zlib.error:
            return b""
    try:
        import bz2  # noqa: PLC0415 - a Python built without them can't unpack such a file either
        import lzma  # noqa: PLC0415
    except ImportError:
        return b""
    try:
        if data.startswith(b"BZh"):
            return bz2.BZ2Decompressor().decompress(data, _BLOCK)
        if data.startswith(b"\xfd7zXZ"):
            return lzma.LZMADecompressor(memlimit=1 << 27).decompress(data, _BLOCK)
    except (OSError, lzma.LZMAError, EOFError):
        return b""
    return b""


def _members(stream: BinaryIO, size: int) -> list[_Member]:
    """Return the members that the list at the end of a zip names. Raises ValueError."""
    length = min(size, _END.size + _LONGEST_COMMENT)
    stream.seek(size - length)
    tail = stream.read(length)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0:
        raise ValueError("there is none")
    _, _, _, _, count, list_size, list_at, _ = _END.unpack_from(tail, at)
    place = at - _END64_PLACE.size
    if place >= 0 and tail[place : place + 4] == b"PK\x06\x07":
        stream.seek(min(_END64_PLACE.unpack_from(tail, place)[2], size))
        found = _END64.unpack(stream.read(_END64.size))
        if found[0] != b"PK\x06\x06":
            raise ValueError("its 64-bit end is broken")
        count, list_size, list_at = found[7], found[8], found[9]
    if list_size > MAX_LIST or count > MAX_MEMBERS or list_at + list_size > size:
        raise ValueError(f"it claims {count} members in {list_size} bytes")
    stream.seek(list_at)
    data = stream.read(list_size)
    members, at = [], 0
    for _ in range(count):
        entry = _ENTRY.unpack_from(data, at)
        if entry[0] != b"PK\x01\x02":
            raise ValueError(f"it is broken at byte {at}")
        begin = at + _ENTRY.size
        name, extra = data[begin : begin + entry[10]], begin + entry[10]
        offset = entry[16]
        if offset == _FULL32:
            wide = [entry[9], entry[8]].count(_FULL32)
            offset = _wide_offset(data[extra : extra + entry[11]], wide)
        members.append(_Member(name.decode("utf-8", "replace"), offset, entry[4]))
        at = extra + entry[11] + entry[12]
    return members


def _wide_offset(extra: bytes, before: int) -> int:
    """Return the 64-bit offset of a member, which stands after ``before`` other numbers."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64:
            return int(struct.unpack_from("<Q", extra, at + 4 + 8 * before)[0])
        at += 4 + length
    raise ValueError("a member's place is not told")


def _unpack(stream: BinaryIO, size: int, member: _Member, limit: int) -> bytes:
    """Return the first bytes of a member; none where it can't be unpacked here."""
    if member.offset + _LOCAL.size > size:
        return b""
    stream.seek(member.offset)
    head = _LOCAL.unpack(stream.read(_LOCAL.size))
    stream.seek(member.offset + _LOCAL.size + head[9] + head[10])
    data = stream.read(limit)
    if member.method != _DEFLATED:
        return data
    try:
        return zlib.decompressobj(wbits=-15).decompress(data, limit)
    except zlib.error:
        return b""

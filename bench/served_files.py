"""Makes files that a download is measured with: safetensors of plausible values, all different."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path

MEBIBYTE = 1 << 20
#: Elements of a row, and the bytes of one in BF16.
WIDTH = 4096
ROW = 2 * WIDTH
#: Rows of a tensor: 64 MiB.
ROWS = 8192
#: Bytes before the data: the header's length, the header, and spaces up to here.
HEAD = ROW
#: The upper byte of a BF16 is the sign and most of the exponent. These are weights of 0.0005 to
#: 0.06 in size; the lower byte may be any.
_UPPER = bytes((0x3A, 0x3B, 0x3C, 0x3C, 0xBA, 0xBB, 0xBC, 0xBC)) * 32
#: A norm's weights lie close above 1: 0x3F80 to 0x3F8F.
_NORM_LOWER = bytes(0x80 | (value & 0x0F) for value in range(256))


@dataclass(frozen=True)
class ServedFile:
    """One file, and what is known of it before it is fetched."""

    name: str
    path: Path
    size: int
    sha256: str


def served_files(folder: Path, count: int, size: int) -> tuple[ServedFile, ...]:
    """Return ``count`` files of ``size`` bytes (MiB, whole) below the folder, made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(_file(folder, number, count, size) for number in range(1, count + 1))


def _file(folder: Path, number: int, count: int, size: int) -> ServedFile:
    name = f"model-{number:05}-of-{count:05}.safetensors"
    path, known = folder / name, folder / f"{name}.json"
    if not known.exists() or not path.exists() or path.stat().st_size != size:
        known.unlink(missing_ok=True)
        known.write_text(json.dumps(_write(path, number, size)))
    return ServedFile(name, path, size, json.loads(known.read_text()))


def _write(path: Path, number: int, size: int) -> str:
    """Write the file and return its sha256 in hex."""
    source = random.Random(number)
    digest = hashlib.sha256()
    with path.open("wb") as stream:

        def write(data: bytes) -> None:
            stream.write(data)
            digest.update(data)

        header, tensors = _header(number, size)
        write(header)
        for norm, length in tensors:
            for start in range(0, length, MEBIBYTE):
                write(_values(source, min(MEBIBYTE, length - start), norm=norm))
    return digest.hexdigest()


def _header(number: int, size: int) -> tuple[bytes, list[tuple[bool, int]]]:
    """Return the file's beginning, and of each tensor whether it is a norm, and its bytes."""
    rows = (size - HEAD) // ROW - 1
    if rows < 1:
        raise ValueError(f"{size} bytes are too few for a file")
    shapes = {f"model.layers.{number}.input_layernorm.weight": [WIDTH]}
    for part, first in enumerate(range(0, rows, ROWS)):
        shapes[f"model.layers.{number}.mlp.{part}.weight"] = [min(ROWS, rows - first), WIDTH]
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    tensors = []
    end = 0
    for name, shape in shapes.items():
        length = ROW * (shape[0] if len(shape) > 1 else 1)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [end, end + length]}
        tensors.append((len(shape) == 1, length))
        end += length
    text = json.dumps(header, separators=(",", ":")).encode().ljust(HEAD - 8)
    if len(text) != HEAD - 8:
        raise ValueError(f"{size} bytes are too many for a file")
    return len(text).to_bytes(8, "little") + text, tensors


def _values(source: random.Random, size: int, *, norm: bool) -> bytes:
    data = bytearray(source.randbytes(size))
    if norm:
        data[0::2] = data[0::2].translate(_NORM_LOWER)
        data[1::2] = b"\x3f" * (size // 2)
    else:
        data[1::2] = data[1::2].translate(_UPPER)
    return bytes(data)

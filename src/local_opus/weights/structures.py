"""Picks the structure check for a file by its first bytes and its name."""

from __future__ import annotations

from typing import BinaryIO

from local_opus.weights import archives, arrays, filler, gguf, safetensors, tokenizer
from local_opus.weights.classify import TINY, Kind, is_weights, suffix_of
from local_opus.weights.filler import Run
from local_opus.weights.finding import Finding, Info, finding, placeholder
from local_opus.weights.structure import Refusal

_CONTAINERS = frozenset({Kind.ZIP, Kind.TAR, Kind.COMPRESSED, Kind.NUMPY, Kind.HDF5})
#: Weights that are a container by their format.
_OWN_CONTAINERS = frozenset({".npz", ".keras"})


def check_structure(stream: BinaryIO, path: str, kind: Kind, size: int) -> Finding:
    """Check the file ``path`` of ``size`` bytes at the start of ``stream``.

    Graphs that need another file are not checked here. Raises OSError as reading does.
    """
    suffix = suffix_of(path)
    if kind in _CONTAINERS:
        return finding(kind, _container(stream, path, kind, size))
    if kind is Kind.GGUF or suffix == ".gguf":
        info = gguf.check(stream, size)
        return judged(stream, size, kind, info, () if isinstance(info, Refusal) else info.runs())
    if suffix == ".safetensors":
        found = safetensors.check(stream, size)
        return judged(stream, size, kind, found, () if isinstance(found, Refusal) else found.runs)
    if suffix == ".bin" and size < TINY:
        reason = f"{size} bytes, and no .xml beside it that would need so little"
        return placeholder(kind, reason) or Finding(kind, None)
    return finding(kind, tokenizer.check(path, stream, size))


def judged(
    stream: BinaryIO, size: int, kind: Kind, answer: Info | Refusal, runs: tuple[Run, ...]
) -> Finding:
    """Return what the structure says, and where it is sound what the numbers in it say."""
    refusal = None if isinstance(answer, Refusal) else filler.check(stream, size, runs)
    return finding(kind, refusal or answer)


def _container(stream: BinaryIO, path: str, kind: Kind, size: int) -> Info | Refusal:
    weights = is_weights(path) and suffix_of(path) not in _OWN_CONTAINERS
    if kind is Kind.ZIP:
        return archives.check_zip(stream, size, weights=weights)
    if kind is Kind.TAR:
        return archives.check_tar(stream, size, weights=weights)
    if kind is Kind.COMPRESSED:
        return archives.check_compressed(stream, size, weights=weights)
    return (arrays.check_npy if kind is Kind.NUMPY else arrays.check_hdf5)(stream, size)

"""Weights in parts: an index against the parts that it names, parts against their own numbers.

Sources: ``modeling_utils.py`` of huggingface/transformers (``weight_map``, ``total_size``), and
``gguf-split`` of ggml-org/llama.cpp (``split.no``, ``split.count``, ``split.tensors.count``).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from posixpath import dirname, join

from local_opus.values import Verdict
from local_opus.weights.gguf_info import GgufInfo
from local_opus.weights.safetensors import SafetensorsInfo
from local_opus.weights.structure import Refusal, RefusedError, corrupt, printable

#: Absent parts that are named one by one.
MAX_ABSENT = 100
#: What total_size may be off by: tied tensors are counted twice by some, and stored once.
_TIED = 2
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.(?:gguf|safetensors|bin))", re.DOTALL)


@dataclass(frozen=True)
class IndexInfo:
    """A sound index: the part of each tensor, and the bytes of all of them where it says so."""

    weight_map: Mapping[str, str]
    total_size: int | None

    def summary(self) -> dict[str, int | str | bool | None]:
        """Return the facts that a manifest records."""
        return {"format": "index of parts", "tensors": len(self.weight_map)}


def check_index(value: object) -> IndexInfo:
    """Check the JSON of an index. Raises RefusedError where it is not sound."""
    weight_map = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(weight_map, dict) or not weight_map:
        raise corrupt("weight_map is missing or empty")
    for tensor, name in weight_map.items():
        if not isinstance(name, str) or not name:
            raise corrupt(f"the part of {printable(tensor, 60)!r} is no name")
    for name in set(weight_map.values()):
        if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/"):
            reason = f"it names a part outside the folder, {printable(name)!r}"
            raise RefusedError(Verdict.UNSAFE, reason)
    metadata = value.get("metadata")
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    if total is not None and (type(total) not in {int, float} or not 0 <= total < 1 << 63):
        raise corrupt(f"total_size is {printable(repr(total), 40)}, not a number of bytes")
    return IndexInfo(weight_map, int(total) if total is not None else None)


def judge_index(
    path: str, index: IndexInfo, parts: Mapping[str, SafetensorsInfo | None]
) -> Iterator[tuple[str, Refusal]]:
    """Yield what is wrong with the parts that ``index``, the file ``path``, names.

    ``parts`` are the files beside it by their names, with their facts where they are sound
    safetensors.
    """
    shown = printable(path)
    wanted = Counter(index.weight_map.values())
    absent = sorted(set(wanted) - parts.keys())
    for name in absent[:MAX_ABSENT]:
        reason = f"{shown} has {wanted[name]} tensors in it"
        yield join(dirname(path), name), Refusal(Verdict.MISSING, reason)
    if absent:
        reason = f"{len(absent)} of the {len(wanted)} parts that it names are not there"
        yield path, Refusal(Verdict.CORRUPT, reason)
    lacking: dict[str, list[str]] = {}
    for tensor, name in index.weight_map.items():
        info = parts.get(name)
        if info is not None and tensor not in info.names:
            lacking.setdefault(name, []).append(tensor)
    for name, tensors in lacking.items():
        first = printable(tensors[0])
        reason = f"lacks {len(tensors)} tensors that {shown} has in it, the first {first!r}"
        yield join(dirname(path), name), Refusal(Verdict.CORRUPT, reason)
    infos = [parts.get(name) for name in wanted]
    held = sum(info.data_bytes for info in infos if info is not None)
    if index.total_size is None or index.total_size == held or None in infos:
        return
    reason = f"total_size is {index.total_size}, the parts hold {held} bytes"
    far = max(held, index.total_size) > _TIED * min(held, index.total_size)
    yield path, Refusal(Verdict.CORRUPT if far else Verdict.UNPROVEN, reason)


def series_of(names: Collection[str]) -> dict[tuple[str, int, str], dict[int, str]]:
    """Return the series of parts among ``names``: by stem, count and suffix, names by number."""
    found: dict[tuple[str, int, str], dict[int, str]] = {}
    for name in names:
        match = _PART.fullmatch(name)
        if match is not None:
            key = (match[1], int(match[3]), match[4])
            found.setdefault(key, {})[int(match[2])] = name
    return found


def judge_series(
    series: tuple[str, int, str], names: Mapping[int, str], infos: Mapping[str, GgufInfo]
) -> Iterator[tuple[str, Refusal]]:
    """Yield what is wrong with the parts ``stem-NNNNN-of-MMMMM``; ``infos``: of the sound GGUF."""
    stem, count, suffix = series
    first = 0 if 0 in names else 1
    absent = [number for number in range(first, first + count) if number not in names]
    for number in absent[:MAX_ABSENT]:
        reason = f"part {number} of {count}; {len(names)} are there"
        yield f"{stem}-{number:05}-of-{count:05}{suffix}", Refusal(Verdict.MISSING, reason)
    if suffix != ".gguf":
        return
    for number, name in names.items():
        info = infos.get(name)
        if info is None:
            continue
        says = (info.number("split.no"), info.number("split.count"))
        if says != (number - 1, count):
            reason = f"its header says part {says[0]} (from 0) of {says[1]}, its name another"
            yield name, Refusal(Verdict.CORRUPT, reason)
    wanted = {info.number("split.tensors.count") for info in infos.values()} - {None}
    held = sum(len(info.tensors) for info in infos.values())
    if len(infos) == count and wanted and wanted != {held}:
        numbers = ", ".join(sorted(str(number) for number in wanted))
        reason = f"its parts hold {held} tensors, their headers say {numbers}"
        yield names[min(names)], Refusal(Verdict.CORRUPT, reason)

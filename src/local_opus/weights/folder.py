"""What only the files of a folder together tell: parts that lack, a config without weights."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from posixpath import basename, dirname, join

from local_opus.values import Verdict
from local_opus.weights.classify import is_weights
from local_opus.weights.door import Reader
from local_opus.weights.gguf_info import GgufInfo
from local_opus.weights.inspect import Inspector
from local_opus.weights.safetensors import SafetensorsInfo
from local_opus.weights.shards import IndexInfo, judge_index, judge_series, series_of
from local_opus.weights.structure import Refusal, printable

_INDEX = ".index.json"
_MAX_CONFIG = 1024 * 1024


def judge_folder(
    host: Reader, folder: str, inspector: Inspector, names: Collection[str]
) -> list[tuple[str, Refusal]]:
    """Return what is wrong with the files ``names`` of ``folder`` together, by path.

    A path that is not among the names is one that lacks. ``unproven`` is a remark, no fault.
    """
    found = [*_configs(host, folder, names)]
    for name in names:
        if name.endswith(_INDEX):
            found += _index(inspector, name, names)
    for series, parts in series_of(names).items():
        infos = {
            name: info
            for name in parts.values()
            if isinstance(info := inspector.info(name), GgufInfo)
        }
        found += judge_series(series, parts, infos)
    return list(dict(reversed(found)).items())  # the first said of a path is what counts


def _index(
    inspector: Inspector, path: str, names: Collection[str]
) -> Iterator[tuple[str, Refusal]]:
    index = inspector.info(path)
    if not isinstance(index, IndexInfo):
        return
    parts: dict[str, SafetensorsInfo | None] = {}
    for name in set(index.weight_map.values()):
        place = join(dirname(path), name)
        if place in names:
            info = inspector.info(place)
            parts[name] = info if isinstance(info, SafetensorsInfo) else None
    yield from judge_index(path, index, parts)


def _configs(host: Reader, folder: str, names: Collection[str]) -> Iterator[tuple[str, Refusal]]:
    """Yield configs of models that have no weights: beside them, below, or in a folder above."""
    holders = {dirname(name) for name in names if is_weights(name)}
    for name in names:
        if basename(name) != "config.json":
            continue
        here = dirname(name)
        below = any(not here or f"{holder}/".startswith(f"{here}/") for holder in holders)
        above = any(not holder or f"{here}/".startswith(f"{holder}/") for holder in holders)
        model = None if below or above else _model_of(host, f"{folder}/{name}")
        if model is not None:
            reason = f"describes a model ({model}) of which no weights are in the folder"
            yield name, Refusal(Verdict.PLACEHOLDER, reason)


def _model_of(host: Reader, path: str) -> str | None:
    """Return what model a config.json describes; None where it describes none."""
    try:
        with host.files.open_read(path, follow=False) as stream:
            value = json.loads(stream.read(_MAX_CONFIG))
    except (OSError, ValueError, RecursionError):  # said of the file itself
        return None
    if not isinstance(value, dict):
        return None
    names = value.get("architectures")
    name = names[0] if isinstance(names, list) and names else value.get("model_type")
    return printable(name, 60) if isinstance(name, str) else None

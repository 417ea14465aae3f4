"""JSON nested almost as deep as Python reads it: what quotes it later is nested deeper still."""

from __future__ import annotations

import json
import struct
import sys

import pytest
import targets

#: By target: a document with an ``@`` where the nested value goes.
PLACES = {
    "safetensors": [
        '{"w": @}', '{"__metadata__": @}', '{"w": {"dtype": @, "shape": [], "data_offsets": [0, 4]}}',
        '{"w": {"dtype": "F32", "shape": [@], "data_offsets": [0, 4]}}',
        '{"w": {"dtype": "F32", "shape": [], "data_offsets": [0, @]}}',
    ],
    "tokenizer.json": [
        "@", '{"model": @}', '{"model": {"type": @, "vocab": {"a": 0}}}', '{"model": {"vocab": {"a": @}}}',
        '{"model": {"vocab": [@]}}', '{"model": {"vocab": {"a": 0}, "merges": [@]}}',
        '{"model": {"vocab": {"a": 0}}, "added_tokens": [@]}',
    ],
    "tokenizer_config.json": ['{"chat_template": @}', '{"chat_template": [{"template": @}]}'],
    "special_tokens_map.json": ['{"a": @}'],
    "vocab.json": ['{"a": @}'],
    "x.index.json": ['{"weight_map": {"a": @}}', '{"weight_map": {"a": "b"}, "metadata": {"total_size": @}}'],
    "manifest": ["@", '{"schema_version": @}', '{"files": [@]}', '{"files": [{"structure": {"a": @}}]}'],
    "config.json": ['{"architectures": @, "model_type": @}'],
    "a.json": ['{"error": @}'],
}  # fmt: skip


def ask(name: str, document: bytes) -> None:
    if name == "safetensors":
        targets.run(name, struct.pack("<Q", len(document)) + document)
    elif name == "manifest":
        targets.run(name, document)
    elif name == "config.json":
        targets.run("folder", targets.pack({name: document}))
    elif name in targets.BESIDE:
        targets.run("beside", bytes([targets.BESIDE.index(name)]) + document)
    if name in targets.NAMES:
        targets.run("classify", bytes([targets.NAMES.index(name)]) + document)
        targets.run("inspect", bytes([targets.NAMES.index(name)]) + document)


def deepest(begin: str, end: str) -> int:
    """Return how deep Python reads JSON from here; the code under test is some calls further."""
    for depth in range(sys.getrecursionlimit(), 0, -1):
        try:
            json.loads(begin * depth + "0" + end * depth)
        except RecursionError:
            continue
        return depth
    raise AssertionError


@pytest.mark.parametrize("nested", [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
@pytest.mark.parametrize("name", PLACES)
def test_values_at_every_depth(name, nested):
    begin, end = nested
    most = deepest(begin, end)
    for depth in range(most - 30, most + 3):
        value = begin * depth + "0" + end * depth
        for place in PLACES[name]:
            ask(name, place.replace("@", value).encode())


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-0.0", "1" * 4000, "1" * 5000, '"\\ud800"', "true", "null"])  # fmt: skip
@pytest.mark.parametrize("name", PLACES)
def test_values_that_are_odd(name, value):
    for place in PLACES[name]:
        ask(name, place.replace("@", value).encode())


def test_the_places_are_json():
    for places in PLACES.values():
        for place in places:
            json.loads(place.replace("@", "0"))

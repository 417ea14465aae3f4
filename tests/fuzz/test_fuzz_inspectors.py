"""Sound files changed at random, and files built from parts of their formats, by hypothesis."""

from __future__ import annotations

import json
import struct

import mutations
import pytest
import targets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import builders

#: Examples of one test; all of them take some 10 s on one core. bench/fuzz_inspectors.py does more.
EXAMPLES = 120
some = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), derandomize=True)

numbers = st.one_of(st.sampled_from(mutations.EDGES), st.integers(0, 1 << 64))
texts = st.text(max_size=12)


def changes(name: str) -> st.SearchStrategy[list[mutations.Change]]:
    known = [data[:64] for data in targets.TARGETS[name].seeds]
    words = st.sampled_from([*targets.TARGETS[name].words, *known, b"\0"])
    other = st.one_of(words, st.binary(max_size=16))
    change = st.tuples(st.sampled_from(mutations.KINDS), st.integers(0, 6143), numbers, other)
    return st.lists(change, min_size=1, max_size=6)


@pytest.mark.parametrize("name", targets.TARGETS)
def test_sound_files_that_were_changed(name):
    @some
    @given(st.sampled_from(targets.TARGETS[name].seeds), changes(name))
    def changed(seed: bytes, made: list[mutations.Change]) -> None:
        targets.run(name, mutations.apply(seed, made))

    changed()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_any_bytes(name):
    @settings(some, max_examples=40)
    @given(st.binary(max_size=300))
    def anything(data: bytes) -> None:
        targets.run(name, data)

    anything()


# --- built from the parts of a format ----------------------------------------------------------

values = st.one_of(
    texts, st.integers(0, (1 << 32) - 1), st.floats(width=32), st.lists(texts, max_size=3),
    st.lists(st.integers(0, 9), max_size=3),
)  # fmt: skip
keys = st.one_of(texts, st.sampled_from([*builders.LLAMA, "general.alignment"]))
dims = st.lists(st.one_of(st.integers(0, 70), numbers), max_size=5).map(
    lambda found: tuple(min(dim, (1 << 64) - 1) for dim in found)
)
infos = st.tuples(texts, dims, st.integers(0, 40), numbers.map(lambda n: n & ((1 << 64) - 1)))


@some
@given(
    st.dictionaries(keys, values, max_size=4),
    st.lists(infos, max_size=4),
    st.binary(max_size=200),
    st.sampled_from([2, 3, 3, 3, 4]),
    st.none() | st.integers(0, 1 << 40),
)
def test_ggufs_from_parts(held, tensors, data, version, claimed):
    parts = [builders.tensor_info(*tensor) for tensor in tensors]
    head = builders.gguf_header(held, parts, version=version, claimed=claimed)
    targets.run("gguf", builders.pad(head) + data)


shapes = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 5)), min_size=1, max_size=4)


@some
@given(shapes, st.integers(-40, 40))
def test_a_gguf_is_sound_exactly_where_its_data_are_all_there(found, more):
    tensors = [(f"t{n}", pair, 0) for n, pair in enumerate(found)]
    data = builders.gguf_bytes({}, tensors)
    last = 4 * tensors[-1][1][0] * tensors[-1][1][1]
    cut = data[:more] if more < 0 else data + bytes(more)
    answer = targets.run("gguf", cut)
    padding = -last % 32
    assert isinstance(answer, tuple) is (-padding <= more <= 0), answer


entries = st.one_of(
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F4", "F6_E2M3", "BOOL", "X", 1]),
            "shape": st.lists(st.integers(0, 5) | numbers, max_size=4),
            "data_offsets": st.lists(st.integers(0, 40) | numbers, min_size=1, max_size=3),
        }
    ),
    st.recursive(st.none() | texts | st.integers() | st.floats(), st.lists, max_leaves=4),
)


@some
@given(st.dictionaries(texts | st.just("__metadata__"), entries, max_size=4), st.binary(max_size=40), st.integers(-3, 3))  # fmt: skip
def test_safetensors_from_parts(header, data, lie):
    text = json.dumps(header).encode()
    targets.run("safetensors", struct.pack("<Q", max(0, len(text) + lie)) + text + data)


@some
@given(shapes, st.integers(-5, 5))
def test_a_safetensors_is_sound_exactly_where_it_ends_with_its_data(found, more):
    header, end = {}, 0
    for number, (rows, columns) in enumerate(found):
        size = 2 * rows * columns
        header[f"t{number}"] = {"dtype": "F16", "shape": [rows, columns], "data_offsets": [end, end + size]}  # fmt: skip
        end += size
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(end)
    answer = targets.run("safetensors", data[:more] if more < 0 else data + bytes(more))
    assert isinstance(answer, dict) is (more == 0), answer


attributes = st.dictionaries(
    st.sampled_from(["type", "element_type", "shape", "offset", "size", "name", "version"]),
    st.one_of(
        st.sampled_from(["Const", "f32", "u4", "i64", "boolean", "string", "1,2", "", "-1", "0", "18", "+1", " 1", "1e3", "٣"]),
        numbers.map(str),
    ),
)  # fmt: skip


def element(tag: str, held: dict[str, str], inner: str) -> str:
    words = "".join(f' {name}="{value}"' for name, value in held.items())
    return f"<{tag}{words}>{inner}</{tag}>"


elements = st.recursive(
    st.just(""),
    lambda inner: st.lists(
        st.builds(element, st.sampled_from(["layer", "data", "layers", "net"]), attributes, inner),
        max_size=3,
    ).map("".join),
    max_leaves=8,
)


@some
@given(elements)
def test_graphs_from_parts(body):
    targets.run("ir", f"<net>{body}</net>".encode())


@some
@given(st.integers(-2, 2), st.integers(1, 4))
def test_a_graph_is_sound_exactly_where_its_constants_end_with_the_bin(lie, count):
    offset = len(builders.IR_BIN) - 4 * count + lie
    body = (
        f'<layer type="Const"><data element_type="f32" shape="{count}" offset="{offset}" '
        f'size="{4 * count}"/></layer>'
    )
    answers = targets.run("ir", builders.ir_xml(body))
    assert [isinstance(one, dict) for one in answers] == [False, False, lie == 0, False]  # type: ignore[attr-defined]

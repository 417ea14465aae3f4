"""Random bytes in place of numbers are found; whatever a real model may hold is not."""

from __future__ import annotations

import io
import math
import random
from pathlib import Path

import pytest

from builders import floats, gguf_header, ir_xml, pad, safetensors_bytes, tensor_info
from local_opus.host import Host
from local_opus.weights import filler
from local_opus.weights.ggml_types import TENSOR_TYPES
from local_opus.weights.verify import verify_folder

CHANCE = random.Random(11)
DTYPES = {"F32": ("f32", 4), "F16": ("f16", 2), "BF16": ("bf16", 2), "F64": ("f64", 8)}


def gauss(form: str, count: int, mean: float = 0.0, sigma: float = 0.02) -> bytes:
    return floats(form, (CHANCE.gauss(mean, sigma) for _ in range(count)))


def tensors(parts: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    """A safetensors of these names with dtype, shape and data."""
    header, data = {}, b""
    for name, (dtype, shape, part) in parts.items():
        offsets = [len(data), len(data) + len(part)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += part
    return safetensors_bytes(header, data)


def found(folder: Path, name: str, data: bytes) -> tuple[str, str]:
    (folder / name).write_bytes(data)
    verdicts = {item.path: item for item in verify_folder(Host("/"), str(folder))}
    return verdicts[name].verdict, verdicts[name].evidence


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_norms_are_filler(tmp_path, dtype):
    width = DTYPES[dtype][1]
    data = tensors(
        {
            "norm.weight": (dtype, [1024], CHANCE.randbytes(1024 * width)),
            "proj.weight": ("U8", [64, 64], CHANCE.randbytes(4096)),
        }
    )
    verdict, evidence = found(tmp_path, "model.safetensors", data)
    assert verdict == "placeholder"
    assert "norm.weight" in evidence
    assert (
        f"1024 {dtype}" in evidence or f"of {filler.VALUES[DTYPES[dtype][0]]} {dtype}" in evidence
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_random_matrices_are_filler_where_there_is_nothing_else(tmp_path, dtype):
    data = tensors({"w": (dtype, [64, 64], CHANCE.randbytes(4096 * DTYPES[dtype][1]))})
    assert found(tmp_path, "model.safetensors", data)[0] == "placeholder"


@pytest.mark.parametrize("dtype", DTYPES)
def test_trained_tensors_are_unproven(tmp_path, dtype):
    form = DTYPES[dtype][0]
    data = tensors(
        {
            "norm.weight": (dtype, [2048], gauss(form, 2048, 1.0, 0.3)),
            "proj.weight": (dtype, [64, 64], gauss(form, 4096)),
        }
    )
    assert found(tmp_path, "model.safetensors", data)[0] == "unproven"


def test_random_integers_prove_nothing(tmp_path):
    """Quantized weights look like that."""
    data = tensors({"qweight": ("I32", [64, 64], CHANCE.randbytes(16_384))})
    assert found(tmp_path, "model.safetensors", data)[0] == "unproven"


def ir(*consts: tuple[str, bytes]) -> tuple[bytes, bytes]:
    layers, raw = "", b""
    widths = {"f32": 4, "f16": 2, "f64": 8, "bf16": 2, "u8": 1}
    for number, (form, part) in enumerate(consts):
        shape = len(part) // widths[form]
        layers += (
            f'<layer id="{number}" name="c{number}" type="Const"><data element_type="{form}" '
            f'shape="{shape},1" offset="{len(raw)}" size="{len(part)}"/></layer>'
        )
        raw += part
    return ir_xml(layers), raw


@pytest.mark.parametrize("form", ["f32", "f16", "bf16", "f64"])
def test_random_scales_of_an_int4_graph_are_filler(tmp_path, form):
    width = {"f32": 4, "f64": 8}.get(form, 2)
    xml, raw = ir(("u8", CHANCE.randbytes(50_000)), (form, CHANCE.randbytes(2048 * width)))
    (tmp_path / "m.xml").write_bytes(xml)
    verdict, evidence = found(tmp_path, "m.bin", raw)
    assert (verdict, "'c1'" in evidence) == ("placeholder", True)


def test_trained_scales_of_an_int4_graph_are_unproven(tmp_path):
    xml, raw = ir(("u8", CHANCE.randbytes(50_000)), ("f16", gauss("f16", 4000, 0.01, 0.002)))
    (tmp_path / "m.xml").write_bytes(xml)
    assert found(tmp_path, "m.bin", raw)[0] == "unproven"


#: Types that hold floating-point numbers, by ggml's number.
WITH_FLOATS = [number for number, kind in TENSOR_TYPES.items() if kind.floats]
WITHOUT = [number for number, kind in TENSOR_TYPES.items() if not kind.floats]


def one_tensor(number: int, make: str) -> bytes:
    kind, blocks = TENSOR_TYPES[number], 4096
    data = bytearray(CHANCE.randbytes(blocks * kind.size))
    if make == "trained":
        for block in range(blocks):
            for form, at in kind.floats:
                value = abs(CHANCE.gauss(0.01, 0.003))
                packed = bytes([118]) if form == "e8m0" else floats(form, [value])
                data[block * kind.size + at : block * kind.size + at + len(packed)] = packed
    info = tensor_info("blk.0.ffn_up.weight", (kind.block, blocks), number, 0)
    return pad(gguf_header({}, [info])) + bytes(data)


@pytest.mark.parametrize("number", WITH_FLOATS, ids=lambda number: TENSOR_TYPES[number].name)
def test_random_blocks_of_a_gguf_are_filler(tmp_path, number):
    verdict, evidence = found(tmp_path, "m.gguf", one_tensor(number, "random"))
    assert (verdict, "ffn_up" in evidence) == ("placeholder", True)


@pytest.mark.parametrize("number", WITH_FLOATS, ids=lambda number: TENSOR_TYPES[number].name)
def test_blocks_with_trained_scales_are_unproven(tmp_path, number):
    assert found(tmp_path, "m.gguf", one_tensor(number, "trained"))[0] == "unproven"


@pytest.mark.parametrize("number", WITHOUT, ids=lambda number: TENSOR_TYPES[number].name)
def test_blocks_without_scales_prove_nothing(tmp_path, number):
    assert found(tmp_path, "m.gguf", one_tensor(number, "random"))[0] == "unproven"


def test_trained_norms_do_not_hide_random_scales(tmp_path):
    kind = TENSOR_TYPES[2]
    norms = [(f"blk.{n}.norm", gauss("f32", 512, 1, 0.1)) for n in range(20)]
    blocks = CHANCE.randbytes(2048 * kind.size)
    infos, data = [], b""
    for name, part in norms:
        infos.append(tensor_info(name, (512,), 0, len(data)))
        data += part
    infos.append(tensor_info("blk.0.up", (kind.block, 2048), 2, len(data)))
    whole = pad(gguf_header({}, infos)) + data + blocks
    assert found(tmp_path, "m.gguf", whole)[0] == "placeholder"


LOWEST = -3.4028234663852886e38
N = 2048
REAL = {
    "zeros": ("f32", [0.0] * N),
    "ones": ("f32", [1.0] * N),
    "a mask of minus infinity": ("f32", [-math.inf if i % 3 else 0.0 for i in range(N)]),
    "a mask of the lowest number": ("f32", [LOWEST if i > 9 else 0.0 for i in range(N)]),
    "a mask of infinities and nothing": ("f16", [-math.inf, math.inf, math.nan, 0.0] * (N // 4)),
    "the lowest half": ("f16", [-65504.0] * N),
    "positions": ("f32", list(range(N))),
    "positions as halves": ("f16", [float(i) for i in range(N)]),
    "rotary frequencies": ("f32", [10_000 ** (-i / N) for i in range(N)]),
    "rotary frequencies of long contexts": ("f32", [1e9 ** (-i / N) for i in range(N)]),
    "a sine table": ("bf16", [math.sin(i) for i in range(N)]),
    "values that faded": ("f32", [2.0 ** -(100 + i % 49) for i in range(N)]),
    "large activations": ("bf16", [3000.0 * math.sin(i) for i in range(N)]),
    "squares": ("f32", [float(i) ** 4 for i in range(N)]),
    "a broken training": ("f32", [math.nan] * N),
}  # fmt: skip


@pytest.mark.parametrize(("form", "values"), REAL.values(), ids=REAL.keys())
def test_what_real_models_hold_is_no_filler(form, values):
    data = floats(form, values)
    runs = [filler.dense("t", form, 0, len(data))]
    assert filler.check(io.BytesIO(data), len(data), runs) is None


def test_a_few_random_values_prove_nothing():
    data = CHANCE.randbytes(4 * 40)
    runs = [filler.dense("t", "f32", 0, len(data))]
    assert filler.check(io.BytesIO(data), len(data), runs) is None


def test_a_random_tensor_among_trained_ones_proves_nothing():
    """One of ten: a table of bits that someone stored as numbers."""
    parts = [gauss("f32", 512) for _ in range(9)] + [CHANCE.randbytes(2048)]
    data = b"".join(parts)
    runs = [filler.dense(str(n), "f32", n * 2048, 2048) for n in range(10)]
    assert filler.check(io.BytesIO(data), len(data), runs) is None


PACKED = {
    "one column": {"down.weight": ("BF16", [4096, 1], CHANCE.randbytes(8192))},
    "parts beside it": {
        "down.weight": ("BF16", [64, 64], CHANCE.randbytes(8192)),
        "down.weight.quant_map": ("U8", [16], bytes(16)),
    },
    "a name that says so": {"down.W_q": ("F16", [64, 64], CHANCE.randbytes(8192))},
    "trained norms beside it": {
        "down.weight": ("F16", [64, 64], CHANCE.randbytes(8192)),
        "norm.weight": ("F16", [2048], gauss("f16", 2048, 1, 0.1)),
    },
}


@pytest.mark.parametrize("parts", PACKED.values(), ids=PACKED.keys())
def test_integers_packed_as_numbers_are_no_filler(tmp_path, parts):
    """As quantizers store them whose trainers want one type for all."""
    assert found(tmp_path, "model.safetensors", tensors(parts))[0] == "unproven"


def test_runs_outside_the_file_are_passed_over():
    runs = [filler.Run("t", "f32", 1 << 62, 4, 1 << 60), filler.Run("u", "f16", 0, 2, 1 << 61)]
    assert filler.check(io.BytesIO(b"\xff" * 64), 64, runs) is None


@pytest.mark.parametrize("seed", range(200))
def test_trained_numbers_are_never_taken_for_chance(seed):
    """Normal and wide distributions of every form, by hundreds of seeds."""
    chance = random.Random(seed)
    form = ("f32", "f16", "bf16", "f64")[seed % 4]
    sigma = 10 ** chance.uniform(-6, 2)
    data = floats(form, (chance.gauss(0, 1) ** 3 * sigma for _ in range(512)))
    assert (
        filler.check(io.BytesIO(data), len(data), [filler.dense("t", form, 0, len(data))]) is None
    )


@pytest.mark.parametrize("form", ["f32", "f16", "bf16", "f64"])
def test_chance_is_told_in_nearly_every_case(form):
    """At the fewest values that are judged, 64 or 512, at most 5 of 200 files are missed."""
    count = 512 if form == "f16" else 64
    size = count * {"f32": 4, "f64": 8}.get(form, 2)
    chance = random.Random(5)
    runs = [filler.dense("t", form, 0, size)]
    missed = sum(
        filler.check(io.BytesIO(chance.randbytes(size)), size, runs) is None for _ in range(200)
    )
    assert missed <= 5

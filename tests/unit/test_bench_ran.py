"""In which precision products ran, from the words of the plugins' graphs."""

from __future__ import annotations

import pytest

from local_opus.runtime.bench_ran import of_nodes
from local_opus.runtime.bench_timing import Timing, repeat

NODES: list[tuple[str, list[dict[str, str]], str | None]] = [
    ("int8", [{"layerType": "FullyConnected", "primitiveType": "brgemm_avx512_i8",
               "runtimePrecision": "i8"}], "i8"),
    ("AMX", [{"layerType": "FullyConnected", "primitiveType": "brgemm_avx512_amx_i8"}], "i8"),
    ("unsigned", [{"layerType": "MatMul", "runtimePrecision": "u8"}], "i8"),
    ("compressed weights compute in f32",
     [{"layerType": "FullyConnected", "primitiveType": "brgemm_avx512_f32",
       "runtimePrecision": "i8"}], "f32"),
    ("oneDNN on a GPU", [{"layerType": "Gemm", "execType": "jit:gemm:any__f16",
                          "runtimePrecision": "f32"}], "f16"),
    ("mixed", [{"layerType": "MatMul", "primitiveType": "gemm_mlas_f32"},
               {"layerType": "MatMul", "primitiveType": "brgemm_avx512_i8"}], "f32, i8"),
    ("a kernel that names none", [{"layerType": "MatMul", "execType": "ref_any",
                                   "runtimePrecision": "f16"}], "f16"),
    ("no layer type, but our name", [{"name": "bench_product_0", "runtimePrecision": "f16"}],
     "f16"),
    ("a reorder with our name in it", [{"name": "Parameter_1_f32_bench_product_0",
                                        "layerType": "Reorder", "runtimePrecision": "f32"}], None),
    ("an empty graph", [], None),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "precision"), [row[1:] for row in NODES],
                         ids=[row[0] for row in NODES])  # fmt: skip
def test_precision(nodes: list[dict[str, str]], precision: str | None) -> None:
    assert of_nodes([{"name": "x", **node} for node in nodes])[0] == precision


def test_kernels_are_told_once() -> None:
    node = {"name": "x", "layerType": "MatMul", "execType": "jit:gemm:any__f16"}
    assert of_nodes([node, node])[1] == ("jit:gemm:any__f16",)


def test_rates_are_work_by_time() -> None:
    rates = Timing((0.5, 0.25, 1.0, 0.25, 1.0)).rates(2)
    assert rates == {"best": 8.0, "median": 4.0, "low": 2.0, "high": 8.0, "runs": 5}
    assert Timing((0.5,)).rates(2) == {"best": 4, "median": 4, "low": 4, "high": 4, "runs": 1}


def test_a_slow_run_is_not_repeated_for_long() -> None:
    clock: list[int] = []
    timing = repeat(lambda: clock.append(1), 0.0)
    assert 1 <= len(timing.seconds) <= 3
    assert len(clock) <= 5

"""In which precision a compiled model's products really run, from the plugin's own graph.

A hint is a wish: a processor without bf16 runs such a model in f32, and int8 needs a graph that
the plugin can fuse. So the runtime model is asked, by each product.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from local_opus.runtime.bench_graphs import NAME

if TYPE_CHECKING:
    import openvino

_PRODUCTS = {"fullyconnected", "fully_connected", "matmul", "gemm"}
_PRECISIONS = {"f32", "f16", "bf16", "i8", "u8", "f64", "i32", "i4", "u4"}
_WORDS = re.compile(r"[_:]+")
_INT8 = {"i8", "u8"}


def ran(compiled: openvino.CompiledModel) -> tuple[str | None, tuple[str, ...]]:
    """Return the precision ("i8", or "f32, i8" where they differ) and the kernels of the products.

    None where the plugin shows no graph, or none of the products in it.
    """
    try:
        nodes = [_words(node) for node in compiled.get_runtime_model().get_ops()]
    except Exception:  # noqa: BLE001 - a plugin may have no such graph, and says so as it likes
        return None, ()
    return of_nodes(nodes)


def of_nodes(nodes: Iterable[Mapping[str, str]]) -> tuple[str | None, tuple[str, ...]]:
    """Return the same from each node's runtime information, with its "name"."""
    products = [node for node in nodes if _is_product(node)]
    precisions = sorted({_precision(node) for node in products})
    kernels = sorted({_kernel(node) for node in products} - {""})
    return ", ".join(precisions) or None, tuple(kernels)


def _words(node: openvino.Node) -> dict[str, str]:
    known = node.get_rt_info()
    words = {"name": node.get_friendly_name()}
    for key in ("layerType", "execType", "primitiveType", "runtimePrecision"):
        if key in known:
            value = known[key]
            words[key] = str(value.astype(str)) if hasattr(value, "astype") else str(value)
    return words


def _is_product(node: Mapping[str, str]) -> bool:
    kind = node.get("layerType", "").lower()
    return kind in _PRODUCTS or (not kind and node["name"].startswith(NAME))


def _kernel(node: Mapping[str, str]) -> str:
    return node.get("execType") or node.get("primitiveType") or ""


def _precision(node: Mapping[str, str]) -> str:
    """The kernel's own word first: a product of compressed weights calls itself i8, computes f32.

    Kernels are named like brgemm_avx512_bf16 and jit:gemm:any__f16.
    """
    last = _WORDS.split(_kernel(node))[-1]
    found = last if last in _PRECISIONS else node.get("runtimePrecision", "unknown")
    return "i8" if found in _INT8 else found

"""What serving takes of memory: the parts, by data, and what is wrong with a question."""

from __future__ import annotations

import pytest
from test_catalog_fit import NPU, gpu, machine

from local_opus.catalog import Catalog, dimensions, load, needs
from local_opus.catalog import engine_memory as engine
from local_opus.catalog.fitting import fit, remedy
from local_opus.catalog.needs import Serving
from local_opus.report import fits
from local_opus.values import Device, DiskFacts, MemoryFit
from local_opus.weights.gguf_info import GgufInfo, Tensor

MIB, GIB = 2**20, 2**30
#: Llama of 0.36 billion parameters, as bench/fit_peaks.py has it.
SMALL = engine.Dimensions(
    weights=300 * MIB, file=218 * MIB, kv_values=20_480, head_size=64, vocabulary=49_152,
    width=18_880,
)  # fmt: skip


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def part(found: MemoryFit, name: str) -> int:
    return next(one.bytes for one in found.parts if one.name == name)


@pytest.mark.parametrize(
    ("precision", "head_size", "expected"),
    [
        ("f32", 128, 4), ("f16", 128, 2), ("bf16", 64, 2),
        ("u8", 64, 1 + (8 / 32 + 8 / 64) / 2), ("u8", 128, 1 + (8 / 32 + 8 / 128) / 2),
        ("u4", 64, 0.5 + (8 / 32 + 8 / 64) / 2),
    ],
)  # fmt: skip
def test_a_value_of_the_kv_cache(precision: str, head_size: int, expected: float) -> None:
    assert engine.kv_value_bytes(precision, head_size) == expected


@pytest.mark.parametrize(
    ("settings", "cache", "detail"),
    [
        (Serving(1, 32, 1, "f16"), 32 * 40_960, "1 request x 32 tokens at f16"),
        (Serving(1, 33, 1, "f16"), 64 * 40_960, "1 request x 33 tokens at f16"),
        (Serving(8, 2048, 1, "f16"), 8 * 2048 * 40_960, "8 requests x 2,048 tokens at f16"),
        (Serving(8, 4096, 1, "f16"), GIB, "when full: 26,214 tokens of all requests at f16"),
        (Serving(8, 4096, 2, "f16"), 8 * 4096 * 40_960, "8 requests x 4,096 tokens at f16"),
        (Serving(8, None, 2, "f16"), 2 * GIB, "when full: 52,428 tokens of all requests at f16"),
        (Serving(128, 8192, 1, "u4"), GIB // 2, "when full: 38,130 tokens of all requests at u4"),
    ],
)
def test_the_kv_cache_is_that_of_all_requests_and_the_cache_at_most(
    settings: Serving, cache: int, detail: str
) -> None:
    found = needs.serving(SMALL, settings)
    assert part(found, needs.KV_CACHE) == cache
    assert next(one.detail for one in found.parts if one.name == needs.KV_CACHE) == detail


def test_the_sum_is_that_of_the_parts() -> None:
    found = needs.serving(SMALL, Serving(8, 2048))
    assert found.bytes == sum(one.bytes for one in found.parts)
    assert part(found, "weights") == SMALL.weights
    assert not found.estimated


@pytest.mark.parametrize(("requests", "tokens", "buffers"), [
    (1, 32, 32 * 18_880 * 4), (1, 4096, 256 * 18_880 * 4), (32, 4096, 256 * 18_880 * 4),
    (128, 4096, 128 * 49_152 * 8),
])  # fmt: skip
def test_buffers_are_of_a_step_that_reads_or_of_one_that_answers(
    requests: int, tokens: int, buffers: int
) -> None:
    assert part(needs.serving(SMALL, Serving(requests, tokens)), "buffers") == buffers


def test_a_larger_step_takes_larger_buffers() -> None:
    found = needs.serving(SMALL, Serving(1, 4096, batch=1024))
    assert part(found, "buffers") == 1024 * 18_880 * 4


def test_a_device_that_was_not_measured_is_estimated() -> None:
    on_gpu = needs.serving(SMALL, Serving(8, 1024), Device.GPU)
    on_npu = needs.serving(SMALL, Serving(8, 1024), Device.NPU)
    assert on_gpu.estimated
    assert on_npu.estimated
    assert part(on_gpu, "weights") == SMALL.file
    assert part(on_gpu, needs.KV_CACHE) == 8 * 1024 * 40_960
    # One request of MAX_PROMPT_LEN + MIN_RESPONSE_LEN tokens, whatever the server is given.
    assert part(on_npu, needs.KV_CACHE) == 1152 * 40_960


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="no precision of a KV cache: 'u5'"):
        needs.serving(SMALL, Serving(kv_precision="u5"))


def test_every_model_of_the_catalog_has_an_estimate(catalog: Catalog) -> None:
    for model in catalog.models:
        found = needs.serving(model, Serving(1, 4096))
        assert found.estimated, model.id
        assert found.bytes > model.size, model.id


def test_a_model_without_figures_counts_by_rule(catalog: Catalog) -> None:
    model = catalog.get("qwen3-8b-int4-ov")
    bare = model.model_copy(
        update={
            "memory": model.memory.model_copy(update={"kv_bytes_per_token": None}),
            "context_length": None,
            "quantization": "something new",
        }
    )
    known, ruled = (needs.serving(one, Serving(1, 4096)) for one in (model, bare))
    assert part(ruled, needs.KV_CACHE) > part(known, needs.KV_CACHE)
    assert ruled.bytes < 1.2 * known.bytes


# --- dimensions of a file


def info(architecture: str = "qwen3", **changes: int | None) -> GgufInfo:
    keys = {
        "block_count": 2, "embedding_length": 64, "feed_forward_length": 128,
        "attention.head_count": 4, "attention.head_count_kv": 2, "attention.key_length": 32,
    } | changes  # fmt: skip
    values = {f"{architecture}.{key}": value for key, value in keys.items() if value is not None}
    tensors = (
        Tensor("token_embd.weight", "Q8_0", (64, 1000), 0, 0),
        Tensor("blk.0.attn_q.weight", "Q4_0", (64, 128), 0, 0),
        Tensor("output_norm.weight", "F32", (64,), 0, 0),
    )
    values = {"general.architecture": architecture, **values}
    return GgufInfo(3, values, {}, tensors, 32, 0)


def test_the_dimensions_that_a_file_states() -> None:
    found = dimensions.of_gguf(info(), 99)
    assert found == engine.Dimensions(
        weights=int(64_000 * 1.5) + int(64 * 128 * 0.766) + 1 + 64 * 4,
        file=99,
        kv_values=2 * 2 * 2 * 32,
        head_size=32,
        vocabulary=1000,
        width=64 + 2 * 128 + 8 * (4 + 2 * 2) * 32,
    )


def test_without_kv_heads_and_head_size_they_follow_from_the_rest() -> None:
    found = dimensions.of_gguf(info(**{"attention.head_count_kv": None, "attention.key_length": None}), 0)  # fmt: skip
    assert found is not None
    assert (found.kv_values, found.head_size) == (2 * 2 * 4 * 16, 16)


@pytest.mark.parametrize("key", ["block_count", "embedding_length", "feed_forward_length", "attention.head_count"])  # fmt: skip
def test_a_file_that_lacks_a_figure_has_no_dimensions(key: str) -> None:
    assert dimensions.of_gguf(info(**{key: None}), 0) is None


# --- against a machine


def test_the_profile_decides_what_is_asked_of_the_machine(catalog: Catalog) -> None:
    model = catalog.get("qwen3-4b-int4-ov")
    small = machine(memory=3.2)
    assert not fit(model, small, None).fits
    assert fit(model, small, None, Serving(requests=1, context=4096)).fits


@pytest.mark.parametrize(
    ("limit", "says"),
    [(1.3, "needs about 1.4 GiB memory, 1.3 GiB usable"), (0.2, "needs about 1.4 GiB memory, 205 MiB usable")],
)  # fmt: skip
def test_a_cgroup_below_the_need(catalog: Catalog, limit: float, says: str) -> None:
    found = fit(catalog.get("smollm2-135m"), machine(memory=64, limit=limit), None)
    assert found.reasons[0] == says
    assert found.memory_fit is not None
    assert found.memory_fit.usable == int(limit * GIB)


def test_where_the_context_alone_is_too_much_the_profile_helps(catalog: Catalog) -> None:
    facts = machine(memory=1)
    assert remedy(fit(catalog.get("smollm2-135m"), facts, None), facts).startswith(
        "Allow less context in a profile (server.max_concurrent, server.context), or"
    )
    facts = machine(memory=0.2)
    assert remedy(fit(catalog.get("smollm2-135m"), facts, None), facts).startswith("Choose another")


def test_a_device_that_states_no_memory_shares_the_machines(catalog: Catalog) -> None:
    found = fit(catalog.get("qwen3-4b-int4-ov"), machine(memory=16, devices=(NPU,)), "NPU")
    assert found.memory_fit is not None
    assert (found.memory_fit.usable, found.memory_fit.whose) == (16 * GIB, "")


def test_more_requests_than_the_cache_holds_take_no_more(catalog: Catalog) -> None:
    model = catalog.get("qwen3-4b-int4-ov")
    many, more = (fit(model, machine(), None, Serving(n)).memory_fit for n in (64, 4096))
    assert many is not None
    assert more is not None
    assert part(many, needs.KV_CACHE) == part(more, needs.KV_CACHE) == GIB


# --- shown


def test_the_line_of_the_memory() -> None:
    found = needs.serving(SMALL, Serving(8, 2048, 1, "f16")).model_copy(update={"usable": 15 * GIB})
    assert fits.memory_text(found) == (
        "weights 300 MiB + KV cache 640 MiB (8 requests x 2,048 tokens at f16)"
        " + overhead 180 MiB = 1.1 GiB of 15 GiB usable"
    )


def test_the_line_of_an_estimate_names_whose_memory_it_is(catalog: Catalog) -> None:
    facts = machine(memory=64, devices=(gpu(12, "DISCRETE"),))
    found = fit(catalog.get("qwen3-8b-int4-ov"), facts, "GPU").memory_fit
    assert found is not None
    assert fits.memory_text(found).endswith("= about 5.7 GiB of 12 GiB usable on the GPU")


def test_the_line_of_the_disk(catalog: Catalog) -> None:
    model = catalog.get("qwen3-8b-q4_k_m")
    free = DiskFacts(path="/store", total=100 * GIB, free=76 * GIB, free_inodes=9)
    new = needs.disk_fit(model, free, stored=False, environment=GIB)
    assert fits.disk_text(new) == (
        "fetched 4.7 GiB + converted 5.6 GiB + environment 1 GiB + margin 527 MiB"
        " = 11.8 GiB of 76 GiB free"
    )
    there = needs.disk_fit(model, free, stored=True, environment=0)
    assert fits.disk_text(there) == "nothing: it is in the store"
    assert new.bytes == needs.disk(model) + GIB

"""Tuning with the real model on the real engine, and with the generated graph."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from pydantic import JsonValue

from local_opus.catalog import load as load_catalog
from local_opus.errors import WorkerError
from local_opus.host import Host
from local_opus.tuning import TOLERANCE, Search
from local_opus.tuning.workbench import Subject, Workbench, generated
from local_opus.values import CanaryBand
from local_opus.values.tuning import Chosen, Setting
from models import smollm2

BASE: dict[str, JsonValue] = {"PERFORMANCE_HINT": "LATENCY"}
DEFAULT = Chosen()


def band() -> CanaryBand:
    found = load_catalog().get("smollm2-135m").canary
    assert found is not None
    return found


@pytest.fixture
def host() -> Host:
    found = Host()
    found.processes.worker_python = sys.executable
    return found


@pytest.fixture
def subject() -> Subject:
    return Subject("CPU", str(smollm2()[1]), BASE, "smollm2-135m", text=band().text)


@pytest.fixture
def bench(host: Host, subject: Subject) -> Iterator[Workbench]:
    with Workbench(host, subject) as found:
        yield found


def props(**properties: JsonValue) -> Chosen:
    return Chosen(properties=properties)


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (DEFAULT, None),
        (props(INFERENCE_NUM_THREADS=1), None),
        (props(KV_CACHE_PRECISION="u4"), None),
        (props(DYNAMIC_QUANTIZATION_GROUP_SIZE=-1), None),
        (props(NPU_TURBO=True), "CPU has no such setting"),
        (props(INFERENCE_NUM_THREADS=-1), "no value of it"),
    ],
)
def test_what_is_legal_is_told_before_it_is_tried(bench, chosen, words):
    found = bench.refusal(chosen, timeout=60)
    assert found is None if words is None else words in found


@pytest.mark.parametrize(
    ("properties", "words"),
    [
        ({"GPU_QUEUE_THROTTLE": "HIGH"}, "Unsupported property GPU_QUEUE_THROTTLE by CPU plugin"),
        ({"SCHEDULING_CORE_TYPE": "FAST"}, "Wrong value FAST"),
        ({"NO_SUCH": 1}, "Unsupported property NO_SUCH"),
    ],
)
def test_the_plugin_itself_refuses_what_it_does_not_know(host, subject, properties, words):
    """Where a table of ours were wrong: the profile's own properties go past it."""
    with Workbench(host, Subject(subject.device, subject.folder, properties, "m")) as bench:
        assert words in str(bench.refusal(DEFAULT, timeout=60))


def test_both_answer_round_by_round(bench):
    default = bench.load(DEFAULT, None, timeout=120)
    other = bench.load(props(INFERENCE_NUM_THREADS=1), None, timeout=120)
    for running in (default, other, default, other):
        found = running.measure(1, 8, timeout=120)
        assert (found.tokens, found.after_first) == (8, 7)
        assert 0 < found.first_seconds < found.seconds
    assert default.measure(4, 8, timeout=120).tokens == 32
    assert default.loaded.peak_bytes > 100_000_000
    assert default.processor_seconds() > 0
    assert bench.device_name


def test_the_attention_that_can_not_be_batched_is_measured_too(bench):
    running = bench.load(props(ATTENTION_BACKEND="SDPA"), "sequential", timeout=120)
    assert running.measure(1, 8, timeout=120).tokens == 8


def test_what_the_engine_can_not_bear_is_one_line(bench):
    """The plugin alone would take it: only the engine's paged attention does not."""
    chosen = props(KV_CACHE_PRECISION="f32", INFERENCE_PRECISION_HINT="bf16")
    assert bench.refusal(chosen, timeout=60) is None
    error = failure(bench, chosen)
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text():  # others may take both for f32
        assert error is not None
    assert error is None or (error.startswith("tune worker: ") and "\n" not in error)


def failure(bench: Workbench, chosen: Chosen) -> str | None:
    try:
        bench.load(chosen, None, timeout=120).close()
    except WorkerError as error:
        return error.message
    return None


def test_the_canary_reads_in_pieces_what_the_kv_cache_kept(bench):
    """Four bits a number are too few for this model; in one piece nobody would see it."""
    sound, coarse = (bench.judge(chosen, timeout=120) for chosen in (DEFAULT, props(KV_CACHE_PRECISION="u4")))  # fmt: skip
    assert band().low <= sound <= band().high
    assert sound - coarse > 0.05


def test_the_tolerance_is_the_bands_width_about():
    assert pytest.approx(TOLERANCE, rel=0.1) == (band().high - band().low) / 2


def test_a_search_keeps_to_its_time_and_says_why_of_each(host, subject):
    settings = [
        Setting(name="INFERENCE_NUM_THREADS=1", group="threads", properties={"INFERENCE_NUM_THREADS": 1}),
        Setting(name="NPU_TURBO=True", group="x", properties={"NPU_TURBO": True}),
    ]  # fmt: skip
    begin = time.monotonic()
    with Workbench(host, subject) as bench:
        found = Search(
            bench, goal="latency", seconds=40, clock=time.monotonic,
            band=(band().low, band().high),
        ).run(settings)  # fmt: skip
    assert time.monotonic() - begin < 45
    if found.problem is not None:  # a machine with other work, or too slow for 40 s
        assert found.chosen.is_default
        assert re.match(r"other programs |\d+ s were over ", found.problem), found.problem
        return
    rows = {row.setting: row for row in found.tried}
    assert rows["NPU_TURBO=True"].why.startswith("refused: ")
    assert rows["INFERENCE_NUM_THREADS=1"].why


def test_the_generated_graph_answers_and_is_removed(host):
    with generated(host, "CPU", BASE) as subject:
        folder = Path(subject.folder)
        assert sum(one.stat().st_size for one in folder.iterdir()) > 200_000_000
        with Workbench(host, subject) as bench:
            running = bench.load(DEFAULT, None, timeout=120)
            found = running.measure(1, 4, timeout=120)
            assert found.after_first == 3
            assert bench.judge(DEFAULT, timeout=60) is None
    assert not folder.exists()


def test_a_graph_that_can_not_be_written_is_told(host, monkeypatch):
    monkeypatch.setattr(host, "temporary_folder", lambda _name: nullcontext("/proc"))
    with pytest.raises(WorkerError), generated(host, "CPU", BASE):
        pass

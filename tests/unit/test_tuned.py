"""``tuned.json``: sound, nonsense, edited, of another machine; and how it meets openvino.json."""

from __future__ import annotations

import json
from typing import Any

import pytest

from local_opus import sealed, server_config
from local_opus.errors import BadInputError
from local_opus.server.settings import Settings
from local_opus.server_config import WeightsFacts
from local_opus.tuning import tuned
from local_opus.tuning.search import NOT_TRIED
from local_opus.values.tuning import Chosen, Ratio, Tried, Tuned, TunedFor

DIGEST = "ab" * 32
FOR = TunedFor(
    model="m", weights_sha256=DIGEST, device="CPU", device_name="A CPU", driver=None, openvino="2026.4.1"
)  # fmt: skip
TUNED = Tuned(
    tuned_for=FOR, goal="latency", base={"PERFORMANCE_HINT": "LATENCY"}, seconds=12.0, at="2026-11-30T00:00:00+00:00",
    chosen=Chosen(properties={"INFERENCE_NUM_THREADS": 4}, scheduler={"max_num_batched_tokens": 1024}),
    gain=Ratio(median=1.2, low=1.1, high=1.3, rounds=12, confidence=0.9614), noise=0.03,
)  # fmt: skip
FILES: dict[str, dict[str, Any]] = {
    "/c/server.json": {"schema_version": 1, "host": "127.0.0.1", "port": 8000, "max_queue": 64, "model_config": "/c/model.json", "generation_config": "/c/generation.json", "openvino_config": "/c/openvino.json"},
    "/c/model.json": {"schema_version": 1, "model": "m", "name": "M", "quantization": "Q4_1", "license": "MIT", "prompt_format": None, "folder": "/models/m", "device": "CPU", "context_length": None},
    "/c/generation.json": {"schema_version": 1, "temperature": 0.7, "top_p": 0.95, "max_tokens": 1024},
    "/c/openvino.json": {"schema_version": 1, "cache_size_gb": 2, "properties": {"PERFORMANCE_HINT": "LATENCY"}},
}  # fmt: skip


def text(**fields: Any) -> str:
    """The file with other fields, as an editor leaves it."""
    return json.dumps({**json.loads(sealed.dump(TUNED)), **fields})


def load(
    content: str | Exception | None,
    properties: dict[str, Any] | None = None,
    *,
    digest: str = DIGEST,
    runtime: str | None = "2026.4.1",
) -> Settings:
    files = dict(FILES)
    if properties is not None:
        files["/c/openvino.json"] = {**files["/c/openvino.json"], "properties": properties}

    def read(path: str) -> str:
        if path == "/c/tuned.json":
            if content is None:
                raise FileNotFoundError(2, "No such file or directory", path)
            if isinstance(content, Exception):
                raise content
            return content
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return json.dumps(files[path])

    weights = WeightsFacts(digest, 2048)
    return server_config.load(read, "/c/server.json", lambda _folder: weights, lambda: runtime)


def test_the_server_takes_what_was_tuned():
    found = load(sealed.dump(TUNED).decode())
    assert found.openvino == {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 4}
    assert found.max_num_batched_tokens == 1024
    assert found.max_concurrent == 128


def test_the_scheduler_settings_have_their_names_in_the_server():
    scheduler = {"max_num_seqs": 16, "dynamic_split_fuse": False, "enable_prefix_caching": True}
    found = load(text(chosen={"properties": {}, "scheduler": scheduler}))
    assert (found.max_concurrent, found.dynamic_split_fuse, found.prefix_caching) == (16, False, True)  # fmt: skip


def test_without_the_file_it_runs_with_the_defaults():
    assert load(None).openvino == {"PERFORMANCE_HINT": "LATENCY"}


@pytest.mark.parametrize(
    ("edited", "chosen", "effective"),
    [
        # What tuning started from stands: what was tuned holds.
        ({"P": 1}, {"P": 2, "Q": 3}, {"P": 2, "Q": 3}),
        # A key that the user set, or changed, is his.
        ({"P": 1, "Q": 9}, {"Q": 3, "R": 4}, {"P": 1, "Q": 9, "R": 4}),
        ({"P": 7}, {"P": 2, "Q": 3}, {"P": 7, "Q": 3}),
        # One that he removed is the plugin's own again, unless it was tuned.
        ({}, {"Q": 3}, {"Q": 3}),
    ],
)
def test_an_edited_openvino_json_wins_key_by_key(edited, chosen, effective):
    assert tuned.effective(edited, {"P": 1}, Chosen(properties=chosen)) == effective


def test_the_server_lets_the_users_key_win():
    properties = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 2}
    assert load(sealed.dump(TUNED).decode(), properties).openvino == properties


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"digest": "cd" * 32}, "tuned for other weights of m"),
        ({"runtime": "2027.1.0"}, "tuned for OpenVINO 2026.4.1, and this is 2027.1.0"),
        ({"runtime": None}, "tuned for OpenVINO 2026.4.1, and this is of an unknown version"),
    ],
)
def test_what_was_tuned_for_another_is_not_used(change, words):
    assert load(sealed.dump(TUNED).decode(), **change).openvino == {"PERFORMANCE_HINT": "LATENCY"}
    now = {"digest": DIGEST, "runtime": "2026.4.1", **change}
    assert tuned.mismatch(
        TUNED, model="m", weights_sha256=now["digest"], device="CPU", openvino=now["runtime"]
    ) == words  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": "n"}, "tuned for the model m, and this is n"),
        ({"model": None}, "tuned for the model m, and this is a generated graph"),
        ({"device": "GPU"}, "tuned for the device CPU, and this is GPU"),
    ],
)
def test_another_model_or_device(change, words):
    now = {"model": "m", "weights_sha256": DIGEST, "device": "CPU", "openvino": "2026.4.1"}
    assert tuned.mismatch(TUNED, **{**now, **change}) == words
    assert tuned.mismatch(TUNED, **now) is None


def chosen(**properties: Any) -> str:
    return text(chosen={"properties": properties, "scheduler": {}})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "the file: "),
        ("{", "the file: "),
        ("[]", "the file: "),
        ("null", "the file: "),
        ("\ud83d", None),
        (text(schema_version=2), "schema_version: "),
        (text(seconds="12"), "seconds: "),
        (text(chosne={}), 'chosne: unknown key. Did you mean "chosen"?'),
        (text(chosen={"properties": {}, "schedule": {}}), "chosen.schedule: unknown key"),
        (text(tuned_for=None), "tuned_for: "),
        (text(tuned_for={**FOR.model_dump(), "device": "TPU"}), "tuned_for.device: 'TPU' is no device"),
        (text(goal="speed"), "goal: "),
        (chosen(NPU_TURBO=True), "chosen.properties.NPU_TURBO: CPU has no such setting"),
        (chosen(CACHE_DIR="/etc"), "chosen.properties.CACHE_DIR: CPU has no such setting"),
        (chosen(INFERENCE_NUM_THREADS="4"), "chosen.properties.INFERENCE_NUM_THREADS: '4' is no value of it"),
        (chosen(INFERENCE_NUM_THREADS=-4), "chosen.properties.INFERENCE_NUM_THREADS: -4 is no value"),
        (chosen(KV_CACHE_PRECISION="u2"), "chosen.properties.KV_CACHE_PRECISION: 'u2' is no value"),
        (text(chosen={"properties": {}, "scheduler": {"max_num_seqs": 10**9}}), "chosen.scheduler.max_num_seqs: "),
        (IsADirectoryError(21, "Is a directory"), "is a directory"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), "is no utf-8 text"),
    ],
)  # fmt: skip
def test_nonsense_is_named_with_its_field_and_a_remedy(content, words):
    with pytest.raises(BadInputError) as caught:
        load(content)
    assert caught.value.message.startswith("/c/tuned.json: " + (words or ""))
    assert caught.value.remedy.startswith("Correct the file, or remove it")
    assert caught.value.exit_code == 2


def test_a_closed_file_is_the_callers_to_tell():
    with pytest.raises(PermissionError):
        load(PermissionError(13, "Permission denied", "/c/tuned.json"))


def test_an_edit_is_seen_and_used():
    assert not sealed.is_edited(tuned.parse(sealed.dump(TUNED).decode(), "t"))
    content = chosen(INFERENCE_NUM_THREADS=3)
    assert sealed.is_edited(tuned.parse(content, "t"))
    assert load(content).openvino["INFERENCE_NUM_THREADS"] == 3


def test_what_is_written_is_what_is_read():
    found = tuned.parse(sealed.dump(TUNED).decode(), "t")
    assert found.model_copy(update={"sum": None}) == TUNED


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "INFERENCE_NUM_THREADS=4, max_num_batched_tokens=1024, 1.20 times the default"),
        ({"chosen": Chosen(), "gain": None}, "the defaults: nothing gained more than the noise"),
        (
            {
                "chosen": Chosen(),
                "gain": None,
                "tried": [
                    Tried(setting=name, why=why)
                    for name, why in (("A=1", "slower"), ("B=2", NOT_TRIED), ("C=3", NOT_TRIED))
                ],
            },
            "the defaults: nothing gained more than the noise (1 of 3 settings tried)",
        ),
        ({"chosen": Chosen(), "gain": None, "problem": "no memory"}, "the defaults: no memory"),
    ],
)
def test_in_words(change, words):
    assert tuned.in_words(TUNED.model_copy(update=change)) == words

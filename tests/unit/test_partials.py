"""A partial file: what of it counts when it is opened again, after whatever happened to it."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local_opus.host import partials
from local_opus.host.files import Files
from local_opus.host.partials import DURABLE, MISSING, PIECE, WRITTEN, Partial

PATH = "/work/model.gguf"
NOTES = PATH + partials.SUFFIX
HEAD = 4096
#: Four pieces; the last one is shorter.
SIZE = 3 * PIECE + 100
IDENTITY = "ab" * 32


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "work").mkdir()
    return Files(str(tmp_path))


def opened(
    files: Files, *, size: int = SIZE, identity: str = IDENTITY, boot: str = "one"
) -> Partial:
    return Partial(files, PATH, size, identity, boot)


def fill(partial: Partial, *pieces: int) -> None:
    for piece in pieces:
        partial.write(piece * PIECE, bytes([piece + 1]) * partial.length(piece))
        partial.mark(piece)


def states(files: Files, **how: object) -> list[int]:
    with opened(files, **how) as partial:
        return list(partial.states)


@pytest.fixture
def left(files: Files) -> Iterator[Path]:
    """A partial file with a durable, a written, a missing and a written piece; its folder."""
    with opened(files) as partial:
        fill(partial, 0)
        partial.sync()
        fill(partial, 1, 3)
    return Path(files.root) / "work"


def test_a_new_one_has_nothing(files):
    with opened(files) as partial:
        assert list(partial.states) == [MISSING] * 4
        assert (partial.have, partial.loose) == (0, 0)
    assert files.stat(PATH).size == SIZE
    assert files.stat(NOTES).size == HEAD + 4
    assert files.stat(PATH).mode == 0o600


def test_pieces_are_written_then_durable(files):
    with opened(files) as partial:
        fill(partial, 1, 3)
        assert list(partial.states) == [MISSING, WRITTEN, MISSING, WRITTEN]
        assert partial.have == PIECE + 100
        assert partial.loose == 2 * PIECE
        partial.sync()
        assert list(partial.states) == [MISSING, DURABLE, MISSING, DURABLE]
        assert (partial.have, partial.loose) == (PIECE + 100, 0)
        partial.forget([1])
        assert list(partial.states) == [MISSING, MISSING, MISSING, DURABLE]
        assert partial.have == 100
        buffer = memoryview(bytearray(200))
        assert partial.read_into(3 * PIECE, buffer) == 100
        assert bytes(buffer[:100]) == b"\4" * 100


def test_after_a_kill_all_that_was_written_counts(files, left):
    assert states(files) == [DURABLE, WRITTEN, MISSING, WRITTEN]
    assert states(files) == [DURABLE, WRITTEN, MISSING, WRITTEN]


@pytest.mark.parametrize("boot", ["two", ""])
def test_after_a_boot_only_what_is_durable_counts(files, left, boot):
    assert states(files, boot=boot) == [DURABLE, MISSING, MISSING, MISSING]
    # And it stays so: what the first boot had written is not believed by the second's name.
    assert states(files, boot=boot) == [DURABLE, MISSING, MISSING, MISSING]
    assert states(files, boot="one") == [DURABLE, MISSING, MISSING, MISSING]


def test_a_kernel_without_a_name_for_its_boot(files):
    with opened(files, boot="") as partial:
        fill(partial, 0)
        partial.sync()
        fill(partial, 1)
    assert states(files, boot="") == [DURABLE, MISSING, MISSING, MISSING]


def _head(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / Path(NOTES).name
        data = path.read_bytes()
        head = {**json.loads(data[:HEAD]), **changes}
        path.write_bytes(json.dumps(head).encode().ljust(HEAD) + data[HEAD:])

    return change


def _notes(make: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / Path(NOTES).name
        path.write_bytes(make(path.read_bytes()))

    return change


def _data(change: Callable[[Path], object]) -> Callable[[Path], None]:
    return lambda folder: change(folder / Path(PATH).name)


NOTHING = [MISSING] * 4
ALL = [DURABLE, WRITTEN, MISSING, WRITTEN]
#: What happened to the two files, and which states count afterwards.
DAMAGE: dict[str, tuple[Callable[[Path], object], list[int]]] = {
    "nothing": (lambda _: None, ALL),
    "the bytes are gone": (_data(Path.unlink), NOTHING),
    "the bytes were cut": (_data(lambda it: os.truncate(it, SIZE - 1)), NOTHING),
    "the bytes are more": (_data(lambda it: os.truncate(it, SIZE + 1)), NOTHING),
    "the notes were cut": (_notes(lambda data: data[:-1]), NOTHING),
    "the notes are more": (_notes(lambda data: data + b"\1"), ALL),
    "the notes end with their head": (_notes(lambda data: data[:HEAD]), NOTHING),
    "the head was cut": (_notes(lambda data: data[:50]), NOTHING),
    "the head is no JSON": (_notes(lambda data: b"x" * HEAD + data[HEAD:]), NOTHING),
    "the head is a list": (_notes(lambda data: b"[]".ljust(HEAD) + data[HEAD:]), NOTHING),
    "the head is deep": (_notes(lambda data: (b"[" * HEAD) + data[HEAD:]), NOTHING),
    "the head is a huge number": (_notes(lambda data: (b"9" * HEAD) + data[HEAD:]), NOTHING),
    "the notes are no text": (_notes(lambda data: b"\xff" * len(data)), NOTHING),
    "a state that there is not": (_notes(lambda data: data[:HEAD] + b"\2\7\xff\1"), [2, 0, 0, 1]),
    "of another file": (_head(identity="cd" * 32), NOTHING),
    "of another size": (_head(size=SIZE + 1), NOTHING),
    "of other pieces": (_head(piece=PIECE // 2), NOTHING),
    "of another program": (_head(schema_version=2), NOTHING),
    "of another boot": (_head(boot="zero"), [DURABLE, MISSING, MISSING, MISSING]),
    "of a boot that is no text": (_head(boot=["one"]), [DURABLE, MISSING, MISSING, MISSING]),
    # A file system that had noted the size and not the bytes yet.
    "the notes are zeros": (_notes(lambda data: bytes(len(data))), NOTHING),
    "the notes are empty": (_notes(lambda _: b""), NOTHING),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_counts_after_damage(files, left, name):
    change, expected = DAMAGE[name]
    change(left)
    assert partials.have(files, PATH) <= SIZE  # looks, and does not fail
    assert states(files) == expected
    assert files.stat(PATH).size == SIZE
    assert files.stat(NOTES).size == HEAD + 4
    assert states(files) == expected


def test_another_size_or_file_begins_anew(files, left):
    assert states(files, size=SIZE + PIECE) == [MISSING] * 5
    assert files.stat(PATH).size == SIZE + PIECE
    assert states(files) == NOTHING


@pytest.mark.parametrize(("length", "expected"), [
    (0, [0, 0, 0, 0]), (PIECE - 1, [0, 0, 0, 0]), (PIECE, [1, 0, 0, 0]), (2 * PIECE + 5, [1, 1, 0, 0]),
    (SIZE - 1, [1, 1, 1, 0]), (SIZE, [0, 0, 0, 0]), (SIZE + 1, [0, 0, 0, 0]),
])  # fmt: skip
def test_a_file_without_notes_was_filled_from_its_start(files, length, expected):
    files.write_atomic(PATH, b"x" * length)
    assert states(files) == expected


def test_how_much_is_there_is_known_without_opening_it(files, left):
    assert partials.have(files, PATH) == 3 * PIECE  # the last piece counts as a whole one
    files.remove(NOTES)
    assert partials.have(files, PATH) == SIZE
    files.remove(PATH)
    assert partials.have(files, PATH) == 0


def test_one_piece_of_an_empty_file(files):
    with opened(files, size=0) as partial:
        assert (partial.count, partial.have) == (0, 0)
        partial.sync()


@pytest.mark.parametrize("path", [PATH, NOTES])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda it: os.symlink("/etc/passwd", it)])
def test_what_is_no_file_is_not_written_to(files, path, make):
    make(files.root + path)
    with pytest.raises(OSError, match=r"."):
        opened(files)


def test_a_closed_one_is_not_written_to(files):
    partial = opened(files)
    partial.close()
    partial.close()
    assert partial.closed
    for call in (lambda: partial.write(0, b"x"), partial.sync, lambda: partial.read_into(0, memoryview(bytearray(1)))):  # fmt: skip
        with pytest.raises(ValueError, match="closed"):
            call()


def test_closing_waits_for_who_is_in_the_midst(files, monkeypatch):
    partial = opened(files)
    inside, go_on = threading.Event(), threading.Event()
    honest = os.pwrite

    def slow(*args: object) -> int:
        inside.set()
        assert go_on.wait(5)
        return honest(*args)

    monkeypatch.setattr(os, "pwrite", slow)
    writer = threading.Thread(target=partial.write, args=(0, b"x" * 10))
    writer.start()
    assert inside.wait(5)
    closer = threading.Thread(target=partial.close)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    go_on.set()
    closer.join(5)
    writer.join(5)
    assert not closer.is_alive()
    with files.open_read(PATH) as stream:
        assert stream.read(11) == b"x" * 10 + b"\0"


def test_what_is_forgotten_while_it_is_synced_stays_forgotten(files, monkeypatch):
    with opened(files) as partial:
        fill(partial, 0, 1)
        honest = os.fdatasync
        monkeypatch.setattr(os, "fdatasync", lambda it: (partial.forget([1]), honest(it)))
        partial.sync()
        assert list(partial.states) == [DURABLE, MISSING, MISSING, MISSING]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_what_the_disk_could_not_write_has_to_come_again(files, monkeypatch, error):
    """Linux tells of it once; the next fdatasync succeeds without those bytes."""
    with opened(files) as partial:
        fill(partial, 0)
        partial.sync()
        fill(partial, 1, 2)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(error, "no")))
            with pytest.raises(OSError, match="no"):
                partial.sync()
        assert list(partial.states) == [DURABLE, MISSING, MISSING, MISSING]
        partial.sync()
    assert states(files) == [DURABLE, MISSING, MISSING, MISSING]


def test_all_goes_together(files, left):
    with opened(files) as partial:
        partial.discard()
    assert files.list("/work") == []
    partials.discard(files, PATH)

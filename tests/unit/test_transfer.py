"""Connections that share a file: who writes which piece, and who writes no more."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local_opus.errors import LocalOpusError
from local_opus.host.downloads import Answer
from local_opus.host.files import Files
from local_opus.host.partials import MISSING, PIECE, Partial
from local_opus.values import CatalogFile
from local_opus.weights.patience import Patience
from local_opus.weights.sources import spans, transfer
from local_opus.weights.sources.replies import Address
from local_opus.weights.sources.spans import Spans
from local_opus.weights.sources.transfer import StoppedTransferError, Transfer

PIECES = 6
SIZE = PIECES * PIECE - 10
GOOD = b"".join(bytes([piece + 1]) * PIECE for piece in range(PIECES))[:SIZE]
BAD = bytes(SIZE)
FILE = CatalogFile(path="model.gguf", size=SIZE, sha256=hashlib.sha256(GOOD).hexdigest())
URL = "https://hub/model.gguf"
SHORT = Patience(attempts=3, first_wait=0.001, longest_wait=0.002)


@pytest.fixture
def partial(tmp_path: Path) -> Iterator[Partial]:
    (tmp_path / "work").mkdir()
    with Partial(Files(str(tmp_path)), "/work/model.gguf", SIZE, FILE.sha256, "boot") as opened:
        yield opened


def content(partial: Partial) -> bytes:
    buffer = memoryview(bytearray(SIZE))
    assert partial.read_into(0, buffer) == SIZE
    return bytes(buffer)


# -- spans ----------------------------------------------------------------------------------------


def running() -> bool:
    return False


@pytest.fixture
def pieces(partial: Partial, monkeypatch: pytest.MonkeyPatch) -> Spans:
    monkeypatch.setattr(spans, "SPAN", 2)
    monkeypatch.setattr(spans, "_WAIT", 0.01)
    monkeypatch.setattr(spans, "_OTHERS", 0.05)
    return Spans(partial)


def test_each_span_is_taken_once_and_in_order(pieces, partial):
    partial.mark(1)
    taken = [pieces.claim(number, running) for number in range(3)]
    assert taken == [range(1), range(2, 4), range(4, 6)]


def test_what_is_given_back_is_taken_again(pieces):
    for number in range(3):
        pieces.claim(number, running)
    pieces.give_back(1)
    assert pieces.claim(0, running) == range(2, 4)


def test_nothing_is_left_when_all_is_there(pieces, partial):
    for piece in range(PIECES):
        partial.mark(piece)
    assert pieces.claim(0, running) is None


def test_who_finds_nothing_waits_for_what_others_may_give_back(pieces):
    for number in range(3):
        pieces.claim(number, running)
    timer = threading.Timer(0.05, pieces.give_back, [2])
    timer.start()
    assert pieces.claim(3, running) == range(4, 6)
    timer.join()


def test_who_is_stopped_takes_nothing(pieces):
    assert pieces.claim(0, lambda: True) is None


def test_one_brings_all_alone_where_there_are_no_ranges(pieces):
    pieces.claim(0, running)
    pieces.claim(1, running)
    assert pieces.bring_alone(1)  # though the other keeps what it took for longer than is waited
    assert not pieces.bring_alone(0)
    assert pieces.bring_alone(1)
    assert pieces.owns(0, 0)
    assert not pieces.owns(1, 0)
    pieces.give_back(0)
    assert pieces.claim(0, running) is None
    assert pieces.owns(1, 0)


def test_a_piece_is_taken_at_its_start_alone(pieces):
    assert not pieces.owns(0, 5)
    assert pieces.owns(0, 0)
    assert pieces.owns(0, 5)
    assert not pieces.owns(1, 0)
    assert not pieces.owns(1, 5)


def test_what_is_there_belongs_to_nobody(pieces):
    pieces.claim(0, running)
    pieces.brought(0)
    assert not pieces.owns(0, 0)
    assert not pieces.owns(1, 0)


#: A connection's first byte and the byte where it ended; where the next one begins in piece 0.
PARTWAY = {
    "from the start": ([(0, 100)], 100),
    "to the end of a piece": ([(0, PIECE)], 0),
    "further from where one ended": ([(0, 100), (100, 300)], 300),
    "from the start again, and less": ([(0, 100), (0, 40)], 100),
    "not from where one ended": ([(0, 100), (200, 300)], 100),
    "into the next piece": ([(0, PIECE + 5)], 0),
}


@pytest.mark.parametrize("name", PARTWAY)
def test_where_a_broken_connection_is_gone_on_from(pieces, name):
    ways, expected = PARTWAY[name]
    for begin, end in ways:
        pieces.claim(0, running)
        pieces.keep_partway(0, begin, end)
        pieces.give_back(0)
    assert pieces.start(range(1)) == expected


def test_the_bytes_of_a_piece_that_another_has_do_not_count(pieces):
    pieces.claim(0, running)
    pieces.keep_partway(1, 0, 100)
    assert pieces.start(range(1)) == 0


# -- a transfer -----------------------------------------------------------------------------------


@dataclass
class ToldWeb:
    """Answers each request, in the order in which they come, as it is told."""

    answers: list[Callable[[int, int | None], Answer]]
    lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def get(self, url: str, *, start: int = 0, end: int | None = None, token: str | None = None) -> Iterator[Answer]:  # fmt: skip
        with self.lock:
            make = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        yield make(start, end)


def part(data: bytes, before: Callable[[], object] = lambda: None) -> Callable[[int, int | None], Answer]:  # fmt: skip
    """Answer with the range that was asked for, after ``before``."""

    def make(start: int, end: int | None) -> Answer:
        stop = SIZE if end is None else end

        def chunks() -> Iterator[bytes]:
            before()
            yield data[start:stop]

        headers = {"content-range": f"bytes {start}-{stop - 1}/{SIZE}"}
        return Answer(206, headers, chunks(), URL, {})

    return make


def whole(data: bytes, before: Callable[[], object] = lambda: None) -> Callable[[int, int | None], Answer]:  # fmt: skip
    """Answer with all, whatever was asked for, in chunks that end nowhere in particular."""

    def make(start: int, end: int | None) -> Answer:
        def chunks() -> Iterator[bytes]:
            before()
            for offset in range(0, SIZE, 100_000):
                yield data[offset : offset + 100_000]

        return Answer(200, {"content-length": str(SIZE)}, chunks(), URL, {})

    return make


def status(number: int) -> Callable[[int, int | None], Answer]:
    return lambda start, end: Answer(number, {}, iter(()), URL, {})


def bring(partial: Partial, web: ToldWeb, connections: int = 2) -> str | None:
    made = Transfer(
        web, partial, FILE, Address(URL), SHORT, connections=connections, stopped=lambda: False
    )
    return made.run().sha256


@pytest.fixture
def _two_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "SPAN", 2)
    monkeypatch.setattr(spans, "_OTHERS", 0.05)


@pytest.mark.usefixtures("_two_pieces")
def test_who_brings_all_leaves_out_what_another_brings(partial):
    """The first connection has a range of zeros that comes late; the second brings all, and good."""
    others = threading.Event()

    def late() -> None:
        while any(partial.states[piece] == MISSING for piece in range(2, PIECES)):
            assert not others.wait(0.01)

    sha256 = bring(partial, ToldWeb([part(BAD, late), whole(GOOD), part(GOOD)]))
    on_disk = content(partial)
    # Whatever came, the hash is that of what is on the disk.
    assert hashlib.sha256(on_disk).hexdigest() == sha256
    assert on_disk[: 2 * PIECE] == BAD[: 2 * PIECE]
    assert on_disk[2 * PIECE :] == GOOD[2 * PIECE :]


@pytest.mark.usefixtures("_two_pieces")
def test_who_still_waits_when_a_transfer_has_failed_writes_no_more(partial):
    go_on = threading.Event()
    arrived = threading.Event()

    def late() -> None:
        arrived.set()
        assert go_on.wait(5)

    def failing(start: int, end: int | None) -> Answer:
        assert arrived.wait(5)
        return status(404)(start, end)

    with pytest.raises(LocalOpusError, match="not there"):
        bring(partial, ToldWeb([part(BAD, late), failing]))
    # The next mirror brings it, while the first one's bytes arrive.
    sha256 = bring(partial, ToldWeb([part(GOOD, go_on.set)]))
    late_ones = [
        one for one in threading.enumerate() if one.daemon and one.name.startswith("Thread")
    ]
    for thread in late_ones:
        thread.join(1)
    assert sha256 == FILE.sha256
    assert content(partial) == GOOD


def test_a_transfer_that_is_stopped_says_so(partial):
    stopped = threading.Event()
    web = ToldWeb([part(GOOD, stopped.set)])
    made = Transfer(web, partial, FILE, Address(URL), SHORT, connections=1, stopped=stopped.is_set)
    with pytest.raises(StoppedTransferError):
        made.run()


@pytest.mark.parametrize("connections", [1, 2, 8])
def test_no_more_is_loose_than_a_power_loss_may_cost(partial, monkeypatch, connections):
    most = 0
    honest = Partial.write

    def write(self: Partial, offset: int, data: memoryview) -> None:
        nonlocal most
        most = max(most, self.loose)
        honest(self, offset, data)

    monkeypatch.setattr(Partial, "write", write)
    lost = connections * 2 * PIECE + 2 * PIECE
    monkeypatch.setattr(transfer, "MAX_LOST", lost)
    monkeypatch.setattr(spans, "SPAN", 1)
    assert bring(partial, ToldWeb([part(GOOD)]), connections) == FILE.sha256
    # A piece of each that was let pass when there was room for one.
    assert most <= (2 + connections) * PIECE <= lost


def test_a_file_that_becomes_shorter_is_no_endless_loop(partial, monkeypatch):
    monkeypatch.setattr(Partial, "read_into", lambda *_: 0)
    with pytest.raises(OSError, match="shorter than it was"):
        bring(partial, ToldWeb([part(GOOD)]))

"""One file on its way from one address: several connections, one hash, one partial file.

Connections bring spans of pieces in any order. sha256 goes from the first byte to the last, so a
thread of its own follows the connections and reads the pieces back, from memory mostly. A third
makes durable what was written; connections wait for it where too much is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local_opus import clock
from local_opus.errors import LocalOpusError
from local_opus.host import downloads
from local_opus.host.partials import MAX_LOST, MISSING, PIECE
from local_opus.weights.digest import SEGMENT_SIZE, Digests, Hasher
from local_opus.weights.patience import Patience, SlowError, Tries
from local_opus.weights.sources.arrival import OtherFileError
from local_opus.weights.sources.replies import (
    PARTIAL_CONTENT,
    PASSING,
    Address,
    FailedError,
    accept,
)
from local_opus.weights.sources.spans import Spans
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_opus.host.partials import Partial
    from local_opus.values import CatalogFile

#: Pieces that are hashed at once.
_BATCH = 4
_WAIT = 0.2
_ERRORS = 400  # the first of HTTP's statuses of errors
#: Failures after which the origin is asked anew where it leads to.
_ANEW = 6
_TRY_AGAIN = "Check the network and run this again: it continues where it ended."


class StoppedTransferError(Exception):
    """The caller gave up; what has come is kept."""


def join_all(threads: Iterable[threading.Thread], seconds: float) -> None:
    """Wait for threads, but no longer than this for all of them."""
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


class Transfer:
    """Brings the missing pieces of ``partial`` from ``address``."""

    def __init__(
        self,
        web: downloads.Web,
        partial: Partial,
        file: CatalogFile,
        address: Address,
        patience: Patience,
        *,
        connections: int,
        stopped: Callable[[], bool],
    ) -> None:
        self._web = web
        self._partial = partial
        self._file = file
        self._address = address
        self._patience = patience
        self._connections = connections
        self._max_loose = max(2 * PIECE, MAX_LOST - connections * 2 * PIECE)
        self._caller_stopped = stopped
        self._changed = partial.changed
        self._spans = Spans(partial)
        self._moved_to: str | None = None
        self._etag: str | None = None
        self._received = 0
        #: Calls that write just now, and whether none may begin any more.
        self._writing = 0
        self._ended = False
        self._error: BaseException | None = None

    def run(self) -> Digests:
        """Return the digests of the whole file, which may not be the pinned one's yet.

        Raises LocalOpusError when the address does not bring the file, OSError as the disk does,
        and StoppedTransferError when the caller gave up.
        """
        missing = self._partial.states.count(MISSING)
        work = [self._connect] * min(self._connections, missing) + [self._keep_durable]
        threads = [
            threading.Thread(target=self._guard, args=(one, number), daemon=True)
            for number, one in enumerate(work)
        ]
        for thread in threads:
            thread.start()
        try:
            digests = self._hash()
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            self._end()
            join_all(threads, _WAIT)
        self._partial.sync()
        return digests

    # -- the threads ------------------------------------------------------------------------------

    def _guard(self, work: Callable[[int], None], number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def _stopped(self) -> bool:
        return self._error is not None or self._caller_stopped()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._ended or self._caller_stopped():
            raise StoppedTransferError

    def _end(self) -> None:
        """Let no thread write any more: one that still waits for bytes may wait for long."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._writing)

    def _hash(self) -> Digests:
        hasher = Hasher(segment_size=SEGMENT_SIZE, threads=1)
        buffer = memoryview(bytearray(_BATCH * PIECE))
        states = self._partial.states
        done = 0
        while done < self._partial.size:
            first = done // PIECE
            with self._changed:
                while not states[first]:
                    self._check()
                    self._changed.wait(_WAIT)
            self._check()
            last = states.find(MISSING, first, first + _BATCH)
            count = (last if last >= 0 else min(first + _BATCH, len(states))) - first
            wanted = min(count * PIECE, self._partial.size - done)
            read = self._partial.read_into(done, buffer[:wanted])
            if read == 0:
                raise OSError(5, "the partial file is shorter than it was")
            hasher.update(buffer[:read])
            done += read
        return hasher.result()

    def _keep_durable(self, _: int) -> None:
        while True:
            with self._changed:
                while self._partial.loose < self._max_loose // 2:
                    if self._ended or self._stopped():
                        return
                    self._changed.wait(_WAIT)
            self._partial.sync()

    def _connect(self, number: int) -> None:
        tries = Tries(self._patience, lambda: self._received)
        while (span := self._spans.claim(number, self._is_over)) is not None:
            tries.begin()
            try:
                self._bring(span, number, tries)
                tries.succeeded()
                continue
            except (downloads.DownloadError, FailedError, SlowError) as error:
                if out_of_time := clock.blamed(str(error), self._address.where.split("/")[0]):
                    raise out_of_time from error
                tries.failed()
                wait = self._wait(error, tries)
            finally:
                tries.end()
                self._spans.give_back(number)
            self._sleep(wait)

    def _is_over(self) -> bool:
        return self._ended or self._stopped()

    def _wait(self, error: Exception, tries: Tries) -> float:
        """Return the seconds to wait before the next try. Raises LocalOpusError for no further."""
        patience, where = self._patience, self._address.where
        text = printable(str(error))
        asked = getattr(error, "retry_after", None)
        if asked is not None and asked > patience.longest_retry_after:
            raise LocalOpusError(
                f"{where}: {text}, and it asks to wait {asked:.0f} s",
                "Run this again after that time: it continues where it ended.",
            ) from error
        if isinstance(error, downloads.RefusedHostError):
            raise LocalOpusError(
                f"{where}: {text}", "Look at what is behind this address, or use another mirror."
            ) from error
        if tries.are_over(unreachable=isinstance(error, downloads.UnreachableError)):
            raise LocalOpusError(f"{where}: {text}", _TRY_AGAIN) from error
        if tries.failures % _ANEW == 0:
            self._moved_to = None
        return patience.wait(tries.failures, asked)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._changed:
            while (left := end - time.monotonic()) > 0 and not self._is_over():
                self._changed.wait(min(left, _WAIT))

    # -- requests ---------------------------------------------------------------------------------

    def _bring(self, span: range, number: int, tries: Tries) -> None:
        start, end = self._spans.start(span), min(span.stop * PIECE, self._partial.size)
        whole = start == 0 and end == self._partial.size
        with self._ask(None if whole else (start, end)) as answer:
            begin, end = accept(answer, self._address, self._file, start, end)
            without_ranges = not whole and answer.status != PARTIAL_CONTENT
            if without_ranges and not self._spans.bring_alone(number):
                return
            self._compare_etag(answer)
            self._receive(answer, begin, end, number, tries)

    @contextmanager
    def _ask(self, wanted: tuple[int, int] | None) -> Iterator[downloads.Answer]:
        """Ask the place that the address led to the last time, which may have expired."""
        start, end = wanted or (0, None)
        moved = self._moved_to
        if moved is not None:
            with self._web.get(moved, start=start, end=end) as answer:
                if answer.status < _ERRORS or answer.status in PASSING:
                    yield answer
                    return
            self._moved_to = None
        url, token = self._address.url, self._address.token
        with self._web.get(url, start=start, end=end, token=token) as answer:
            if answer.url != url and (answer.status < _ERRORS or answer.status in PASSING):
                self._moved_to = answer.url
            yield answer

    def _compare_etag(self, answer: downloads.Answer) -> None:
        etag = answer.headers.get("etag")
        with self._changed:
            known, self._etag = self._etag, etag or self._etag
        if known is not None and etag is not None and known != etag:
            raise OtherFileError(
                f"{self._file.path} from {self._address.where} changed while it came: its ETag was "
                f"{printable(known)} and is {printable(etag)}",
                "Run this again; if it stays so, the source serves another file now and then.",
            )

    def _receive(
        self, answer: downloads.Answer, begin: int, end: int, number: int, tries: Tries
    ) -> None:
        offset = begin
        try:
            for chunk in answer.chunks:
                # A server that sends more than it said has another file, or is ill: the hash tells.
                offset = self._store(number, offset, memoryview(chunk)[: end - offset])
                if offset >= end:
                    return
                tries.add(len(chunk))
        finally:
            self._spans.keep_partway(number, begin, offset)
        raise downloads.DownloadError(f"the connection ended after {offset} bytes")

    def _store(self, number: int, offset: int, data: memoryview) -> int:
        """Write what belongs to pieces of this connection; return the offset after it."""
        while data:
            piece = offset // PIECE
            part = data[: (piece + 1) * PIECE - offset]
            with self._changed:
                self._check()
                self._received += len(part)
                owned = self._spans.owns(number, offset)
                self._writing += owned
            if owned:
                self._write(offset, part, piece)
            offset += len(part)
            data = data[len(part) :]
        return offset

    def _write(self, offset: int, part: memoryview, piece: int) -> None:
        try:
            self._wait_for_disk()
            self._partial.write(offset, part)
            if offset + len(part) == piece * PIECE + self._partial.length(piece):
                with self._changed:
                    self._spans.brought(piece)
        finally:
            with self._changed:
                self._writing -= 1
                if self._ended:
                    self._changed.notify_all()

    def _wait_for_disk(self) -> None:
        if self._partial.loose < self._max_loose:
            return
        with self._changed:
            while self._partial.loose >= self._max_loose:
                self._check()
                self._changed.wait(_WAIT)

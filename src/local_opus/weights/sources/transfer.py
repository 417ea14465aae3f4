"""One file on its way from one address: several connections, one hash, one partial file.

Connections bring spans of pieces in any order. sha256 goes from the first byte to the last, so a
thread of its own follows the connections and reads the pieces back, from memory mostly. A third
makes durable what was written; connections wait for it where too much is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from local_opus import clock
from local_opus.errors import LocalOpusError
from local_opus.host import downloads
from local_opus.host.partials import MAX_LOOSE, MISSING, PIECE
from local_opus.weights.digest import SEGMENT_SIZE, Digests, Hasher
from local_opus.weights.patience import Patience
from local_opus.weights.sources.arrival import mismatch
from local_opus.weights.sources.replies import PARTIAL_CONTENT, Address, FailedError, accept
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_opus.host.partials import Partial
    from local_opus.values import CatalogFile

#: Pieces of one request, 16 MiB: so few requests that they cost nothing, and so short that the
#: hash, which is in order, finds what it reads in the page cache.
SPAN = 64
#: Pieces that are hashed at once.
_BATCH = 4
_WAIT = 0.2
_TRY_AGAIN = "Check the network and run this again: it continues where it ended."


class StoppedTransferError(Exception):
    """The caller gave up; what has come is kept."""


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
        self._caller_stopped = stopped
        self._changed = partial.changed
        self._taken = bytearray(map(bool, partial.states))
        #: Bytes of a piece that have come when its connection broke.
        self._partway: dict[int, int] = {}
        self._moved_to: str | None = None
        self._etag: str | None = None
        self._whole_by: int | None = None
        self._received = 0
        self._ended = False
        self._error: BaseException | None = None

    def run(self) -> Digests:
        """Return the digests of the whole file, which may not be the pinned one's yet.

        Raises LocalOpusError when the address does not bring the file, OSError as the disk does,
        and StoppedTransferError when the caller gave up.
        """
        work = [self._connect] * min(self._connections, self._taken.count(0)) + [self._keep_durable]
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
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            for thread in threads:
                thread.join(_WAIT if self._stopped() else None)
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
        if self._caller_stopped():
            raise StoppedTransferError

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
                while self._partial.loose < MAX_LOOSE // 2:
                    if self._ended or self._stopped():
                        return
                    self._changed.wait(_WAIT)
            self._partial.sync()

    def _connect(self, number: int) -> None:
        failures, before, slow = 0, self._received, 0
        while (span := self._claim(number)) is not None:
            try:
                self._bring(span, number)
                failures = slow = 0
                continue
            except (downloads.DownloadError, FailedError) as error:
                self._give_back(span)
                if out_of_time := clock.blamed(str(error), self._address.where.split("/")[0]):
                    raise out_of_time from error
                failures = 1 if self._received > before else failures + 1
                before = self._received
                slow = slow + 1 if isinstance(error, _SlowError) else 0
                wait = self._wait(error, failures, slow)
            self._sleep(wait)

    def _wait(self, error: Exception, failures: int, slow: int) -> float:
        """Return the seconds to wait before the next try. Raises LocalOpusError for no further."""
        patience, where = self._patience, self._address.where
        text = printable(str(error))
        asked = getattr(error, "retry_after", None)
        if asked is not None and asked > patience.longest_retry_after:
            raise LocalOpusError(
                f"{where}: {text}, and it asks to wait {asked:.0f} s",
                "Run this again after that time: it continues where it ended.",
            ) from error
        unreachable = isinstance(error, downloads.UnreachableError)
        limit = patience.attempts_unreachable if unreachable else patience.attempts
        if isinstance(error, downloads.RefusedHostError):
            raise LocalOpusError(
                f"{where}: {text}", "Look at what is behind this address, or use another mirror."
            ) from error
        if failures >= limit or slow >= patience.slow_windows:
            raise LocalOpusError(f"{where}: {text}", _TRY_AGAIN) from error
        return patience.wait(failures, asked)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        with self._changed:
            while (left := end - time.monotonic()) > 0 and not self._stopped() and not self._ended:
                self._changed.wait(min(left, _WAIT))

    # -- spans ------------------------------------------------------------------------------------

    def _claim(self, number: int) -> range | None:
        """Take the next missing pieces; None where there are none for this connection."""
        with self._changed:
            if self._stopped() or self._whole_by not in {None, number}:
                return None
            first = self._taken.find(0)
            while first >= 0 and self._partial.states[first]:  # another connection brought it
                self._taken[first] = 1
                first = self._taken.find(0, first)
            if first < 0:
                return None
            end = self._taken.find(1, first, first + SPAN)
            last = end if end >= 0 else min(first + SPAN, len(self._taken))
            self._taken[first:last] = b"\1" * (last - first)
            return range(first, last)

    def _give_back(self, span: range) -> None:
        with self._changed:
            for piece in span:
                self._taken[piece] = bool(self._partial.states[piece])

    def _bring(self, span: range, number: int) -> None:
        start = span.start * PIECE + self._partway.get(span.start, 0)
        end = min(span.stop * PIECE, self._partial.size)
        whole = self._whole_by == number or (start == 0 and end == self._partial.size)
        with self._ask(None if whole else (start, end)) as answer:
            first, last = accept(answer, self._address, self._file, 0 if whole else start, end)
            if answer.status != PARTIAL_CONTENT and not whole:
                with self._changed:  # no ranges here: one connection brings all, in order
                    if self._whole_by is None:
                        self._whole_by = number
                if self._whole_by != number:
                    raise FailedError("the server has no ranges")
            self._compare_etag(answer)
            self._receive(answer, first, last)

    @contextmanager
    def _ask(self, wanted: tuple[int, int] | None) -> Iterator[downloads.Answer]:
        """Ask the place that the address led to the last time, which may have expired."""
        start, end = wanted or (0, None)
        moved = self._moved_to
        if moved is not None:
            with self._web.get(moved, start=start, end=end) as answer:
                if answer.status < 400:  # noqa: PLR2004 - HTTP's errors
                    yield answer
                    return
            self._moved_to = None
        url, token = self._address.url, self._address.token
        with self._web.get(url, start=start, end=end, token=token) as answer:
            if answer.url != url and answer.status < 400:  # noqa: PLR2004 - HTTP's errors
                self._moved_to = answer.url
            yield answer

    def _compare_etag(self, answer: downloads.Answer) -> None:
        etag = answer.headers.get("etag")
        with self._changed:
            known, self._etag = self._etag, etag or self._etag
        if known is not None and etag is not None and known != etag:
            where = self._address.where
            raise mismatch(self._file, where, f"ETag {printable(known)}", printable(etag))

    def _receive(self, answer: downloads.Answer, offset: int, end: int) -> None:
        rate = _Rate(self._patience)
        begin = offset // PIECE
        begun = offset % PIECE == self._partway.get(begin, 0)
        try:
            for chunk in answer.chunks:
                if offset + len(chunk) > self._partial.size:
                    size = self._partial.size
                    raise mismatch(
                        self._file, self._address.where, f"{size} bytes", f"more than {size}"
                    )
                offset = self._store(offset, memoryview(chunk)[: end - offset])
                self._received += len(chunk)
                self._check()
                if offset >= end:
                    return
                rate.add(len(chunk))
        finally:
            piece, rest = divmod(offset, PIECE)
            if (begun or piece > begin) and rest and offset < end:
                self._partway[piece] = rest
        raise downloads.DownloadError(f"the connection ended after {offset} bytes")

    def _store(self, offset: int, data: memoryview) -> int:
        """Write what belongs to missing pieces; return the offset after it."""
        partial = self._partial
        while data:
            piece = offset // PIECE
            part = data[: (piece + 1) * PIECE - offset]
            if partial.states[piece] == MISSING:
                self._wait_for_disk()
                partial.write(offset, part)
            offset += len(part)
            if partial.states[piece] == MISSING and offset == piece * PIECE + partial.length(piece):
                partial.mark(piece)
            data = data[len(part) :]
        return offset

    def _wait_for_disk(self) -> None:
        if self._partial.loose < MAX_LOOSE:
            return
        with self._changed:
            while self._partial.loose >= MAX_LOOSE:
                self._check()
                self._changed.wait(_WAIT)


class _SlowError(downloads.DownloadError):
    """A connection brings next to nothing."""


class _Rate:
    """Watches how much a connection brings."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._begin = time.monotonic()
        self._bytes = 0

    def add(self, count: int) -> None:
        """Count bytes. Raises _SlowError at the end of a window with too few."""
        self._bytes += count
        now = time.monotonic()
        if now - self._begin < self._patience.slow_window:
            return
        rate = self._bytes / (now - self._begin)
        if rate < self._patience.slow_rate:
            raise _SlowError(f"it brings {rate:.0f} bytes a second")
        self._begin, self._bytes = now, 0

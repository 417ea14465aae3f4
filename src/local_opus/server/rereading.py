"""Reads the config again beside what is served: its weights may be gigabytes that are hashed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from local_opus.errors import LocalOpusError
from local_opus.server.standing import Proven

#: Told what is worked on, bytes done and bytes in all; what it raises ends the work.
Progress = Callable[[str, int, int], None]
#: Returns what the config says now. Raises LocalOpusError and PermissionError.
Reread = Callable[[Progress], Proven]


class _EndedError(Exception):
    """Nobody waits for it any more."""


async def reread_aside(reread: Reread) -> Proven | LocalOpusError:
    """Return what ``reread`` does, or the error that it raises; run it in a thread of its own.

    Where this is cancelled the thread ends at its next piece of work: the server's end must not
    wait for it.
    """
    loop = asyncio.get_running_loop()
    found: asyncio.Future[Proven | LocalOpusError] = loop.create_future()
    ended = threading.Event()

    def progress(_what: str, _done: int, _total: int) -> None:
        if ended.is_set():
            raise _EndedError

    def tell(result: Proven | LocalOpusError) -> None:
        if not found.done():
            found.set_result(result)

    def work() -> None:
        result: Proven | LocalOpusError
        try:
            result = reread(progress)
        except LocalOpusError as error:
            result = error
        except _EndedError:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, what is served is served on
            what = f"{error.filename}: " if isinstance(error, OSError) else ""
            words = f"{what}{getattr(error, 'strerror', None) or error}"
            result = LocalOpusError(words, "See the server's log.")
        if not ended.is_set():
            loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=work, name="reread", daemon=True).start()
    try:
        return await found
    finally:
        ended.set()

"""systemd's watchdog (WatchdogSec=), fed by the turns of the engine's loop alone.

Whoever feeds it from a clock proves that the clock goes. Here a turn of the engine's loop, idle or
not, is told to this process, and its own loop tells systemd: where either stands still nothing is
told, and systemd ends the service (SIGABRT) and starts it anew. An engine that is silent for longer
than its limit is ended and started by this process itself; while it loads, and gets on, systemd is
told too.
"""

from __future__ import annotations

import asyncio
import logging

from local_opus.server.engine_client import EngineClient
from local_opus.server.notify import notify, watchdog_seconds

log = logging.getLogger(__name__)

#: Seconds between two looks at most; the engine's idle turns are 2 s apart.
PAUSE = 5.0
#: What systemd must wait beyond the engine's limit, so that this process can act first: a part of
#: the limit, and seconds for two looks and the engine's end.
PART, SECONDS = 0.2, 2 * PAUSE + 5


def patience(limit: float) -> float:
    """Return how long systemd has to wait where the engine may be silent for ``limit`` seconds."""
    return limit * (1 + PART) + SECONDS


async def feed(engine: EngineClient) -> None:
    """Feed it as long as the engine turns, or loads within its limits; returns where there is none.

    Where the engine may be silent for longer than the unit has systemd wait, systemd is told to
    wait for longer.
    """
    waits = watchdog_seconds()
    if waits is None:
        return
    pause = min(PAUSE, waits / 4)
    seen = -1
    while True:
        wanted = patience(engine.turns.limit)
        if wanted > waits and notify(f"WATCHDOG_USEC={int(wanted * 1e6)}"):
            log.info("systemd's watchdog waits %.0f s instead of %.0f", wanted, waits)
            waits = wanted
        count = engine.turns.count
        if (engine.gets_on or count != seen) and notify("WATCHDOG=1"):
            seen = count
        await asyncio.sleep(pause)

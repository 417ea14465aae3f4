"""Asks a child of the server what their sandbox lets them do, one at a time and not too often."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from local_opus.runtime import protocol
from local_opus.server.engine_client import EngineClient
from local_opus.server.engine_process import EngineProcess
from local_opus.server.settings import Settings
from local_opus.values.sandbox import SandboxReport

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-s", "-P", "-m", "local_opus.runtime.sandbox_probe")
#: Seconds for all tries; on an idle machine they take half a second, on a loaded one a few.
LIMIT = 10.0
#: Seconds that an answer, or the failure to get one, is given again instead of a new one.
KEPT = 10.0


class ProbeFailedError(Exception):
    """The child gave no report; the text says why."""


@dataclass(frozen=True)
class _Made:
    at: float
    report: SandboxReport | ProbeFailedError


class SandboxProbe:
    """The last report, made anew where it is old; whoever asks meanwhile gets the same."""

    def __init__(
        self,
        settings: Settings,
        engine: EngineClient,
        *,
        command: Sequence[str] = COMMAND,
        limit: float = LIMIT,
        kept: float = KEPT,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._command = command
        self._limit = limit
        self._kept = kept
        self._lock = asyncio.Lock()
        self._made: _Made | None = None
        self._tried = self._refused = 0

    async def report(self) -> SandboxReport:
        """Return the report. Raises ProbeFailedError."""
        async with self._lock:
            made = self._made
            if made is None or time.monotonic() - made.at > self._kept:
                made = self._made = _Made(time.monotonic(), await self._make())
        if isinstance(made.report, ProbeFailedError):
            raise made.report
        age = round(time.monotonic() - made.at, 3)
        return made.report.model_copy(update={"age_seconds": age})

    async def _make(self) -> SandboxReport | ProbeFailedError:
        try:
            found = SandboxReport.model_validate_json(await self._ask())
        except (OSError, ProbeFailedError, protocol.FrameError, ValidationError) as error:
            log.warning("the sandbox probe failed: %s", error)
            return ProbeFailedError(str(error).splitlines()[0])
        self._tried += found.egress_tried
        self._refused += found.egress_refused
        counts = {"egress_tried": self._tried, "egress_refused": self._refused}
        return found.model_copy(update=counts)

    async def _ask(self) -> str:
        """Return the child's result as JSON."""
        child = await EngineProcess.start(self._command)
        try:
            child.send(
                {
                    "engine": self._engine.pid,
                    "weights": self._settings.model_folder,
                    "device": self._settings.device,
                    # Several are separated by colons (systemd.exec(5)); the server has one of each.
                    "state": os.environ.get("STATE_DIRECTORY", "").partition(":")[0] or None,
                    "cache": os.environ.get("CACHE_DIRECTORY", "").partition(":")[0] or None,
                }
            )
            async with asyncio.timeout(self._limit):
                async for message in child.messages():
                    return _result(message)
            raise ProbeFailedError(f"it ended without an answer ({await child.end()})")
        except TimeoutError:
            raise ProbeFailedError(f"it did not answer within {self._limit:g} s") from None
        finally:
            child.kill()
            await child.end()


def _result(message: protocol.Message) -> str:
    if "result" in message:
        return json.dumps(message["result"])
    error = message.get("error")
    said = error.get("text") if isinstance(error, dict) else message
    raise ProbeFailedError(f"it failed: {said}")

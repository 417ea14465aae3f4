"""The engine's process: its command, its environment, its pipes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from local_opus.runtime import protocol
from local_opus.server.turns import CEILING, FLOOR

#: This interpreter, without the user's site folder (-s) and the working folder (-P).
COMMAND = (sys.executable, "-s", "-P", "-m", "local_opus.runtime.engine")
#: What the engine needs of the environment. It holds no key and no token, whatever the server has.
_KEPT = frozenset({"PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "XDG_CACHE_HOME"})
#: Settings of OpenVINO, of its thread pools and of Intel's GPU and NPU drivers.
_KEPT_PREFIXES = ("OV_", "OPENVINO_", "ONEDNN_", "OMP_", "TBB_", "ZE_", "NEO", "ONEAPI_", "OCL_")
_READ_SIZE = 1 << 16


@dataclass(frozen=True)
class Timing:
    """Limits, in seconds."""

    #: Loading a model, since it last read something; see ``LoadClock``.
    load: float = 1800
    #: Loading without any sign of progress: a disk or a driver that hangs.
    stall: float = 120
    #: What a turn of the engine's loop may take at least, and at most; see ``Turns``.
    floor: float = FLOOR
    ceiling: float = CEILING
    #: The first pause before a restart; it doubles up to ``longest_pause``.
    pause: float = 0.2
    longest_pause: float = 30
    #: A run that served for so long makes the next pause short again.
    stable: float = 60
    #: For the engine to end by itself.
    stop: float = 1.5
    #: Between two looks at the clock.
    watch: float = 1


def environment() -> dict[str, str]:
    """Return the engine's environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    # The package's own folder, wherever it was imported from.
    return {**kept, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


class EngineProcess:
    """A running engine."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, command: Sequence[str]) -> EngineProcess:
        """Start ``command``. Raises OSError."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment(),
        )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def send(self, message: Mapping[str, object]) -> None:
        """Queue a message. What the engine does not live to read is lost: its end tells that.

        Raises FrameError for a message that no frame can hold.
        """
        frame = protocol.encode(message)
        if self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(frame)

    async def messages(self) -> AsyncIterator[protocol.Message]:
        """Yield what the engine says until it closes its output. Raises FrameError."""
        if self._process.stdout is None:
            raise ValueError("the engine has no pipe")
        decoder = protocol.Decoder()
        while data := await self._process.stdout.read(_READ_SIZE):
            for message in decoder.feed(data):
                yield message
        if decoder.inside_frame:
            raise protocol.FrameError("the engine ended inside a frame")

    def close(self) -> None:
        """Close the engine's input: it ends after its step."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    def kill(self) -> None:
        """End it now."""
        if self._process.returncode is None:
            # Not asyncio's kill(): that polls first, and so takes the exit code of a process that
            # has just ended away from the watcher who waits for it.
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)

    async def end(self) -> str:
        """Wait for the end and return how it came: "exit code 1", "SIGKILL"."""
        self.close()
        code = await self._process.wait()
        if code >= 0:
            return f"exit code {code}"
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"signal {-code}"

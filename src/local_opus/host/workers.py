"""The parent's side of a worker: its frames, its answer, and what to say when there is none."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from local_opus.errors import WorkerError
from local_opus.runtime import protocol

_DEBUG = "Run it again with --debug for more."


class Asked:
    """What one worker was asked to do, and what it said so far."""

    def __init__(
        self, module: str, on_event: Callable[[protocol.Message], None] | None = None
    ) -> None:
        self.module = module
        self.err = bytearray()
        self._on_event = on_event
        self._frames = protocol.Decoder()
        self._answer: protocol.Message | None = None

    @property
    def name(self) -> str:
        """The worker's whole module name."""
        return f"local_opus.runtime.{self.module}"

    def hear(self, data: bytes) -> None:
        """Take the next bytes of its output. Raises WorkerError when they are no frames."""
        try:
            messages = self._frames.feed(data)
        except protocol.FrameError as error:
            raise WorkerError(
                f"{self.module} worker: {error}", "Run it again with --debug."
            ) from error
        for message in messages:
            if "event" not in message:
                self._answer = message
            elif self._on_event is not None:
                self._on_event(message)

    def answer(self, code: int) -> protocol.Message:
        """Return its result. Raises WorkerError when there is none; ``code`` is its exit code."""
        if self._answer is None:
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            text = self.err.decode("utf-8", errors="replace").strip().splitlines()[-1:]
            said = f": {text[0]}" if text else ""
            raise WorkerError(f"{self.module} worker ended without an answer ({how}){said}", _DEBUG)
        if isinstance(result := self._answer.get("result"), dict):
            return result
        error_frame = self._answer.get("error")
        text_of = error_frame.get("text") if isinstance(error_frame, dict) else self._answer
        first, *rest = str(text_of).strip().splitlines() or ["no text"]
        raise WorkerError(f"{self.module} worker: {first}", _DEBUG, details=rest)


class BegunWorker:
    """A worker that was started and is not waited for yet."""

    def __init__(
        self, child: subprocess.Popen[bytes], asked: Asked, finish: Callable[[], int]
    ) -> None:
        self._child = child
        self._asked = asked
        self._finish = finish

    def result(self) -> protocol.Message:
        """Wait for its result. Raises WorkerError as ``Processes.worker`` does."""
        return self._asked.answer(self._finish())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        end(self._child)
        with self._child:  # close its pipes, and leave no zombie
            pass


def end(child: subprocess.Popen[bytes]) -> None:
    """End a child and its children where it still runs."""
    if child.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def give(child: subprocess.Popen[bytes], given: bytes) -> None:
    """Write to a child's standard input and close it."""
    if child.stdin is None:
        raise ValueError("the child has no pipe")
    with suppress(BrokenPipeError):  # it ended early: its exit code tells more
        child.stdin.write(given)
        child.stdin.flush()
    with suppress(BrokenPipeError):
        child.stdin.close()

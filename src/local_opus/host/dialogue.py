"""A worker that is asked one thing after the other, each within a time limit."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections import deque
from contextlib import suppress
from typing import BinaryIO, Self, cast

from local_opus.children import dies_with_me
from local_opus.errors import WorkerError
from local_opus.host.worker_command import worker_command
from local_opus.runtime import protocol

_CHUNK = 65536
#: Bytes of a worker's standard error that are kept: its last words.
_KEPT_ERR = 8192
_REMEDY = "Run it again with --debug for more."


class Dialogue:
    """One running worker. It answers each message with one; it is killed when this is left."""

    def __init__(self, python: str, module: str, environment: dict[str, str]) -> None:
        self._module = module
        self._frames = protocol.Decoder()
        self._waiting: deque[protocol.Message] = deque()
        self._err = bytearray()
        self._child = subprocess.Popen(
            worker_command(python, f"local_opus.runtime.{module}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
            # As all workers: whatever kills this program ends them too.
            preexec_fn=dies_with_me(),  # noqa: PLW1509
            umask=0o022,
        )

    def __enter__(self) -> Self:
        """Return this."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the worker."""
        self.close()

    @property
    def pid(self) -> int:
        """The worker's process."""
        return self._child.pid

    def ask(self, message: protocol.Message, *, timeout: float) -> protocol.Message:
        """Send a message; return the answer.

        Raises WorkerError when the worker reports an error, crashes, breaks the protocol or does
        not answer within ``timeout`` seconds; it is ended then.
        """
        try:
            return self._ask(message, time.monotonic() + timeout, timeout)
        except BaseException:
            self.close()
            raise

    def _ask(self, message: protocol.Message, deadline: float, timeout: float) -> protocol.Message:
        stdin = self._child.stdin
        if stdin is None or self._child.poll() is not None:
            raise self._ended()
        with suppress(BrokenPipeError):  # it ended: what it said tells more
            protocol.write(cast("BinaryIO", stdin), message)
        while not self._waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WorkerError(
                    f"{self._module} worker ran over its time limit of {timeout:.0f} s and was "
                    "ended",
                    _REMEDY,
                )
            if not self._read(left):
                raise self._ended()
        answer = self._waiting.popleft()
        error = answer.get("error")
        if isinstance(error, dict):
            lines = str(error.get("text")).strip().splitlines() or ["no text"]
            raise WorkerError(f"{self._module} worker: {lines[0]}", _REMEDY, details=lines[1:])
        return answer

    def _read(self, seconds: float) -> bool:
        """Take what comes within so many seconds; false at the end of the worker's output."""
        out, err = self._child.stdout, self._child.stderr
        if out is None or err is None:
            raise ValueError("the child has no pipes")
        with selectors.DefaultSelector() as selector:
            selector.register(out, selectors.EVENT_READ)
            selector.register(err, selectors.EVENT_READ)
            for key, _ in selector.select(seconds):
                data = os.read(key.fd, _CHUNK)
                if key.fileobj is err:
                    self._err = (self._err + data)[-_KEPT_ERR:]
                    if not data:
                        selector.unregister(err)
                elif not data:
                    return False
                else:
                    self._feed(data)
        return True

    def _feed(self, data: bytes) -> None:
        try:
            self._waiting.extend(self._frames.feed(data))
        except protocol.FrameError as error:
            raise WorkerError(f"{self._module} worker: {error}", _REMEDY) from error

    def _ended(self) -> WorkerError:
        try:
            code = self._child.wait(5)
        except subprocess.TimeoutExpired:
            return WorkerError(f"{self._module} worker closed its output", _REMEDY)
        if self._child.stderr is not None and not self._child.stderr.closed:
            os.set_blocking(self._child.stderr.fileno(), False)
            with suppress(BlockingIOError):
                self._err += os.read(self._child.stderr.fileno(), _CHUNK)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        text = self._err.decode("utf-8", errors="replace").strip().splitlines()[-1:]
        said = f": {text[0]}" if text else ""
        return WorkerError(f"{self._module} worker ended without an answer ({how}){said}", _REMEDY)

    def close(self) -> None:
        """End the worker, with its children."""
        if self._child.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        for stream in (self._child.stdin, self._child.stdout, self._child.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

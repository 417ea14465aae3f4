"""Fetches models in processes of their own, to be killed: one line of JSON a run, one in answer.

Modules are imported once; each run is a fork, in a session of its own. What a run counts outlives
it, in a file that it shares with whoever looks on: of each file of the model, the bytes of it that
were read off a connection.
"""

from __future__ import annotations

import json
import mmap
import os
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from local_opus import interrupts
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.values import Model
from local_opus.weights.fetch import fetch_model
from local_opus.weights.patience import Patience
from local_opus.weights.sources import transfer, web
from syscalls import Call, watched

WORD = 8
#: Calls that a run may be killed at. Those that write pieces are too many, and time hits them.
KILLED_AT = frozenset(
    {"open", "mkdir", "ftruncate", "fsync", "fdatasync", "chmod", "rename", "unlink", "rmdir"}
)


class Counts:
    """A number for each file of a model, in a file that all processes see."""

    def __init__(self, path: Path, files: int) -> None:
        self._size = WORD * files
        path.touch()
        with path.open("r+b") as stream:
            stream.truncate(self._size)
            self._memory = mmap.mmap(stream.fileno(), self._size)

    def add(self, file: int, count: int) -> None:
        found = struct.unpack_from("<Q", self._memory, WORD * file)[0]
        struct.pack_into("<Q", self._memory, WORD * file, found + count)

    def all(self) -> list[int]:
        return list(struct.unpack(f"<{self._size // WORD}Q", self._memory[:]))

    def reset(self) -> None:
        self._memory[:] = bytes(self._size)


def count_received(counts: Counts, model: Model) -> None:
    """Count what is read off connections, in this process from now on."""
    honest = transfer.Transfer._receive
    numbers = {file.path: number for number, file in enumerate(model.files)}

    def receive(self: Any, answer: Any, *args: Any) -> None:
        def counted() -> Iterator[bytes]:
            for data in answer.chunks:
                counts.add(numbers[self._file.path], len(data))
                yield data

        honest(self, replace(answer, chunks=counted()), *args)

    transfer.Transfer._receive = receive


def run(asked: dict[str, Any]) -> dict[str, Any]:
    """Fetch once; return what came of it."""
    model = Model.model_validate(asked["model"])
    host = Host(asked["root"], asked["environ"])
    count_received(Counts(Path(asked["counts"]), len(model.files)), model)
    if asked.get("patience"):
        web.PATIENT = Patience(**asked["patience"])
    told = []
    calls = 0

    def before(call: Call) -> None:
        nonlocal calls
        if call.name in KILLED_AT:
            if calls == asked.get("kill_at"):
                os.kill(os.getpid(), signal.SIGKILL)
            calls += 1

    def progress(what: str, *_: int) -> None:
        if what not in told:
            told.append(what)

    done: dict[str, Any] = {"code": 0}
    interrupts.raise_on_signals()
    with ExitStack() as stack:
        if asked.get("watch"):
            stack.enter_context(watched(asked["root"], before))
        try:
            done["changed"] = fetch_model(host, asked["models"], model, progress=progress).changed
        except LocalOpusError as error:
            done = {"code": int(error.exit_code), "error": error.message}
        except KeyboardInterrupt:
            done = {"code": 130}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {**done, "told": told, "calls": calls, "peak": peak}


def main() -> None:
    """Answer each line: first with the process, then, when it has ended, with its result."""
    for line in sys.stdin:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.setsid()
            os.close(reader)
            result = run(json.loads(line))
            os.write(writer, json.dumps(result).encode())
            os._exit(result["code"])
        os.close(writer)
        _say({"pid": child})
        with os.fdopen(reader) as stream:
            said = stream.read()
        _, status = os.waitpid(child, 0)
        answer = json.loads(said) if said else {}
        _say({**answer, "status": os.waitstatus_to_exitcode(status)})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

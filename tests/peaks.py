"""Measures the memory that an engine takes: while it loads, and while it serves.

Counted is what the kernel can't take back without harm: anonymous memory, and the pages of files
that inference reads for every token (weights that are used where they lie in the file, libraries).
Pages of files that were read once, for the load, are clean: the kernel drops them when memory is
short. They are in VmHWM all the same, so that is shown beside.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local_opus.runtime import protocol

CHECKOUT = Path(__file__).resolve().parent.parent
#: Seconds between two looks.
INTERVAL = 0.02
SAMPLING = {
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": None,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "seed": 1,
    "stop": [],
}


def status(pid: int) -> dict[str, int]:
    """Bytes of /proc/PID/status: RssAnon, RssFile, RssShmem, VmHWM."""
    found = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith("kB"):
            found[name] = int(value.split()[0]) * 1024
    return found


def mappings(pid: int) -> Iterator[tuple[str, dict[str, int]]]:
    """The file of each mapping ("" for none), and its figures in bytes."""
    name, figures = "", {}
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        first = line.split(None, 1)[0]
        if first.endswith(":"):
            value = line.split()
            if value[-1] == "kB":
                figures[first[:-1]] = int(value[1]) * 1024
            continue
        if figures:
            yield name, figures
        parts = line.split(None, 5)
        name, figures = parts[5] if len(parts) > 5 else "", {}
    yield name, figures


def referenced_files(pid: int) -> dict[str, int]:
    """Bytes of each mapped file that were used since ``forget_references``."""
    found: dict[str, int] = {}
    for name, figures in mappings(pid):
        if name.startswith("/"):
            found[name] = found.get(name, 0) + figures.get("Referenced", 0)
    return {name: size for name, size in found.items() if size}


def forget_references(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("1")


@dataclass
class Peak:
    """The highest figures that were seen, in bytes."""

    anonymous: int = 0
    file: int = 0
    rss: int = 0

    def see(self, figures: Mapping[str, int]) -> None:
        # A file in memory (tmpfs) counts as shared memory: it is there whoever maps it.
        file = figures["RssFile"] + figures.get("RssShmem", 0)
        self.anonymous = max(self.anonymous, figures["RssAnon"])
        self.file = max(self.file, file)
        self.rss = max(self.rss, figures["RssAnon"] + file)


class Watch:
    """Looks at a process all the time; ``peak`` is of the time since ``anew``."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak = Peak()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def anew(self) -> Peak:
        """Return the peak so far and begin another."""
        former, self.peak = self.peak, Peak()
        return former

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(INTERVAL):
            try:
                self.peak.see(status(self.pid))
            except (OSError, KeyError):
                return


@dataclass
class Measured:
    """What one engine took, in bytes; ``files`` are the pages that inference used, by file."""

    load: Peak
    first: Peak
    idle: int
    serving: Peak
    cache: int
    tokens: list[tuple[int, int]]
    files: dict[str, int] = field(default_factory=dict)
    high_water: int = 0
    seconds: float = 0

    def touched(self, suffix: str = "") -> int:
        """Bytes of mapped files that inference used, of those whose name ends so."""
        return sum(size for name, size in self.files.items() if name.endswith(suffix))

    @property
    def needed(self) -> int:
        """What serving needs at its peak."""
        return self.serving.anonymous + self.touched()


class EngineRun:
    """A running engine with a model."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        load = {
            "op": "load",
            "model": "measured",
            "folder": str(folder),
            "device": "CPU",
            "context_length": 8192,
            "cache_size_gb": 1,
            "max_concurrent": 128,
            "prefix_caching": False,
            "properties": {"PERFORMANCE_HINT": "LATENCY"},
            **settings,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-m", "local_opus.runtime.engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT / "src")},
        )
        self.watch = Watch(self._process.pid)
        self._decoder = protocol.Decoder()
        self._pending: list[protocol.Message] = []
        self._send(load)
        while (message := self._next())["event"] == "loading":
            pass
        self.ready = message
        assert self.ready["event"] == "ready", self.ready
        time.sleep(3 * INTERVAL)
        self.load_peak = self.watch.anew()

    @property
    def pid(self) -> int:
        return self._process.pid

    def _send(self, message: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(protocol.encode(message))
        self._process.stdin.flush()

    def _next(self) -> protocol.Message:
        while not self._pending:
            assert self._process.stdout is not None
            data = self._process.stdout.read1(1 << 16)
            assert data, f"the engine ended with {self._process.wait()}"
            self._pending += self._decoder.feed(data)
        return self._pending.pop(0)

    def serve(self, requests: int, prompt: int, answer: int) -> tuple[int, list[tuple[int, int]]]:
        """Answer so many requests at once, each of about so many tokens.

        Returns the largest KV cache that the engine told, and each request's tokens.
        """
        # A prompt of single tokens; eight lengths of it.
        for number in range(requests):
            text = " a" * (prompt - number % 8)
            sampling = {**SAMPLING, "max_tokens": answer}
            self._send({"op": "generate", "id": number, "prompt": text, "sampling": sampling})
        cache, ends = 0, []
        while len(ends) < requests:
            message = self._next()
            match message["event"]:
                case "metrics":
                    cache = max(cache, int(message["cache_bytes"]))  # type: ignore[call-overload]
                case "finished":
                    ends.append((message["prompt_tokens"], message["completion_tokens"]))
                case "failed":
                    raise AssertionError(message)
        return cache, ends

    def end(self) -> None:
        self.watch.stop()
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def engine(folder: Path, **settings: Any) -> Iterator[EngineRun]:
    running = EngineRun(folder, **settings)
    try:
        yield running
    finally:
        running.end()


def measure(
    folder: Path, requests: int, prompt: int, answer: int = 16, **settings: Any
) -> Measured:
    """Load a model, serve once, and return what that took."""
    started = time.monotonic()
    with engine(folder, **settings) as running:
        idle = status(running.pid)
        # The first inference packs the weights anew, from the file into memory of its own.
        running.serve(1, 32, 4)
        first = running.watch.anew()
        forget_references(running.pid)
        cache, tokens = running.serve(requests, prompt, answer)
        time.sleep(2 * INTERVAL)
        return Measured(
            load=running.load_peak,
            first=first,
            idle=idle["RssAnon"],
            serving=running.watch.peak,
            cache=cache,
            tokens=tokens,
            files=referenced_files(running.pid),
            high_water=status(running.pid)["VmHWM"],
            seconds=time.monotonic() - started,
        )

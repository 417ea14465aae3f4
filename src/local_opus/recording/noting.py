"""A host's files, kernel and processes that note what is read through them."""

from __future__ import annotations

import io
from typing import BinaryIO

from local_opus.host import Files, FileStat, Kernel, Memory, Processes, Space
from local_opus.recording.scrubbing import Scrubber, scrub_openvino
from local_opus.runtime.protocol import Message

#: Bytes of one read, and of a file at most: as facts.reading has them.
_CHUNK = 65536
_LIMIT = 16 << 20
Noted = str | dict[str, object]


class NotingFiles(Files):
    """Reads through ``inner``, gives what the scrubber leaves of it, and notes that."""

    def __init__(self, inner: Files, scrubber: Scrubber) -> None:
        super().__init__(inner.root)
        self._inner = inner
        self._scrubber = scrubber
        self._noted: dict[str, Noted] = {}
        self._nodes: dict[str, dict[str, object]] = {}
        self._gids: dict[str, int] = {}

    def noted(self) -> dict[str, Noted]:
        """Return what was read, by path, in the form of ``files.json``."""
        nodes: dict[str, Noted] = {}
        for path, gid in self._gids.items():
            group = self._scrubber.groups.get(gid, str(gid))
            nodes[path] = {**self._nodes[path], "group": group}
        return dict(sorted({**self._noted, **nodes}.items()))

    def open_read(self, path: str, *, follow: bool = True) -> BinaryIO:
        """Give the file's text as the scrubber leaves it."""
        chunks: list[bytes] = []
        with self._inner.open_read(self._scrubber.real_path(path), follow=follow) as stream:
            while sum(map(len, chunks)) < _LIMIT and (chunk := stream.read(_CHUNK)):
                chunks.append(chunk)
        text = self._scrubber.text(path, b"".join(chunks).decode("utf-8", errors="replace"))
        self._noted[path] = text
        return io.BytesIO(text.encode())

    def list(self, path: str) -> list[str]:
        """Give the names that the scrubber leaves."""
        names = self._scrubber.names(path, self._inner.list(self._scrubber.real_path(path)))
        self._noted[path] = {"names": names}
        return names

    def read_link(self, path: str) -> str:
        """Give the link's target."""
        target = self._scrubber.words(self._inner.read_link(self._scrubber.real_path(path)))
        self._noted[path] = {"link": target}
        return target

    def stat(self, path: str, *, follow: bool = False) -> FileStat | None:
        """Note that something is there; of a device node, also its mode and group."""
        found = self._inner.stat(self._scrubber.real_path(path), follow=follow)
        if found is None:
            return None
        if path.startswith("/dev/"):
            self._scrubber.gids.add(found.gid)
            self._gids[path] = found.gid
            self._nodes.setdefault(path, {})["mode"] = f"{found.mode:04o}"
        else:
            self._noted.setdefault(path, {"names": []} if found.kind == "folder" else "")
        return found

    def space(self, path: str) -> Space:
        """Give the space of a file system, which is not noted."""
        return self._inner.space(path)

    def can_open(self, path: str) -> str | None:
        """Note what opening a node says."""
        problem = self._inner.can_open(path)
        if problem is not None:
            self._nodes.setdefault(path, {})["refused"] = problem
        return problem


class NotingKernel(Kernel):
    """Notes the answers of the system calls that were needed."""

    def __init__(self, inner: Kernel) -> None:
        super().__init__(is_image=True)
        self._inner = inner
        self.noted: dict[str, object] = {}

    def release(self) -> str | None:
        """Note and give the release."""
        return self._note("release", self._inner.release())

    def machine(self) -> str | None:
        """Note and give the machine word."""
        return self._note("machine", self._inner.machine())

    def memory(self) -> Memory | None:
        """Note and give the memory."""
        found = self._inner.memory()
        if found is not None:
            self.noted["memory"] = vars(found)
        return found

    def _note(self, name: str, word: str | None) -> str | None:
        if word is not None:
            self.noted[name] = word
        return word


class NotingProcesses(Processes):
    """Gives the probe's answer as the scrubber leaves it; keeps what it says of the processor."""

    def __init__(self, inner: Processes, scrubber: Scrubber) -> None:
        super().__init__({})
        self._inner = inner
        self._scrubber = scrubber
        self.cpu: object = None

    def worker(
        self, module: str, request: Message, *, timeout: float, **_settings: object
    ) -> Message:
        """Ask the worker."""
        answer = scrub_openvino(
            self._inner.worker(module, request, timeout=timeout), self._scrubber
        )
        self.cpu = answer.get("cpu", self.cpu)
        return answer

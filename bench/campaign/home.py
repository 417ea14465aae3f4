"""The home folder of the campaign: what was in it before, what is there now, and what runs."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from campaign.stage import MODEL

#: Path below the home -> kind, mode, uid, gid, content, mtime in ns (0 for what is not a file).
Tree = dict[str, tuple[str, int, int, int, str, int]]

PREFIX = ".local/share/local-opus"
STORE = f"{PREFIX}/models"
STATE = ".local/state/local-opus"
GGUF = f"{STORE}/{MODEL}/gguf-q4_1/SmolLM2-135M-Instruct.Q4_1.gguf"
#: What an uninstall that keeps the weights leaves, beside what the store holds: the store, the
#: receipt that tells who made its folders, with head and lock, and the folders these lie in.
WEIGHTS_STAY = (
    *(STORE, PREFIX, ".local/share"),
    *(STATE, f"{STATE}/receipt.jsonl", f"{STATE}/receipt.head", f"{STATE}/lock", ".local/state"),
)
#: Byte code is Python's own, and written when something is used first.
_CACHES = "__pycache__"
#: There in every install, with another content in each.
_VARYING = (f"{STATE}/receipt.jsonl", f"{STATE}/receipt.head", f"{STATE}/lock", f"{STATE}/log/",
            f"{STATE}/run/")  # fmt: skip
_LONG_AGO = 1_500_000_000
_SETTLE = 0.5


class Home:
    """A home in use: folders with modes of their own, files where an install writes, a link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.receipt = folder / STATE / "receipt.jsonl"

    def make(self) -> Tree:
        """Make it anew; return its tree."""
        self.end_all()
        shutil.rmtree(self.folder, ignore_errors=True)
        folders = {".config": 0o700, ".config/local-opus": 0o755, ".config/systemd/user": 0o755,
                   ".local/bin": 0o750, "Documents": 0o711}  # fmt: skip
        for name in folders:
            (self.folder / name).mkdir(parents=True)
        files = {
            ".config/local-opus/generation.json": ('{"mine": true}\n', 0o604),
            ".config/local-opus/notes.txt": ("mine\n", 0o600),
            ".config/systemd/user/other.service": ("[Unit]\n", 0o644),
            ".local/bin/mine": ("#!/bin/sh\n", 0o755),
            "Documents/letter.txt": ("Dear reader\n", 0o640),
        }
        for name, (text, mode) in files.items():
            path = self.folder / name
            path.write_text(text)
            path.chmod(mode)
            os.utime(path, (_LONG_AGO, _LONG_AGO))
        (self.folder / ".local/bin/local-opus").symlink_to("/opt/another/local-opus")
        for name, mode in folders.items():
            (self.folder / name).chmod(mode)
        return self.tree()

    def tree(self) -> Tree:
        """Return all that is there but byte code and what the store holds."""
        found: Tree = {}
        for top, folders, names in os.walk(self.folder):
            folders[:] = [name for name in folders if name != _CACHES]
            for name in [*folders, *names]:
                path = Path(top, name)
                relative = str(path.relative_to(self.folder))
                found[relative] = _entry(path, varying=relative.startswith(_VARYING))
                if relative == STORE:
                    folders.remove(name)
        return found

    def stored(self) -> dict[str, tuple[int, int, int]]:
        """Return inode, mtime and size of every file of a variant with a manifest."""
        found = {}
        for manifest in (self.folder / STORE / MODEL).glob("*/weights.json"):
            names = [item["path"] for item in json.loads(manifest.read_bytes())["files"]]
            for path in [manifest, *(manifest.parent / name for name in names)]:
                if path.exists():
                    status = path.stat()
                    name = str(path.relative_to(self.folder))
                    found[name] = (status.st_ino, status.st_mtime_ns, status.st_size)
        gguf = self.folder / GGUF
        if gguf.exists() and GGUF not in found:  # proven when it got its name
            status = gguf.stat()
            found[GGUF] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return found

    def records(self) -> int:
        """Return the number of whole records of the receipt."""
        try:
            return self.receipt.read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def last_record(self) -> str:
        """Return what the receipt's last whole record says, e.g. ``begin environment``."""
        try:
            lines = self.receipt.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return "no receipt"
        whole = [line for line in lines if line.endswith(b"\n")]
        if not whole:
            return "no record"
        record = json.loads(whole[-1])
        name = str(record["id"])
        name = name.partition(":")[0] if name.startswith(("environment", "folder")) else name
        return f"{record['event']} {name}".strip()

    # -- processes ------------------------------------------------------------------------------

    def processes(self) -> dict[int, str]:
        """Return the processes that were started with this home, and their commands."""
        mark = f"HOME={self.folder}\0".encode()
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes():
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if words:  # none: it has ended and is not waited for yet
                        found[int(folder.name)] = words.strip()
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it has ended, or is another user's
        return found

    def servers(self) -> set[int]:
        """Return the recorded servers and all that they started."""
        known = set()
        for path in (self.folder / STATE / "run").rglob("*.pid"):
            try:
                known.add(int(json.loads(path.read_text())["pid"]))
            except (ValueError, KeyError, FileNotFoundError):
                continue  # removed just now; what it named is then no recorded server any more
        parents = {pid: _parent(pid) for pid in self.processes()}
        while more := {pid for pid, parent in parents.items() if parent in known} - known:
            known |= more
        return known & parents.keys()

    def strays(self, seconds: float = _SETTLE) -> dict[int, str]:
        """Return what runs and is no server, after the time that the dying may take."""
        return self.wait(lambda found: not found.keys() - self.servers(), seconds)

    def wait(self, wanted: Callable[[dict[int, str]], bool], seconds: float) -> dict[int, str]:
        """Wait until the processes are as wanted; return those that should not be there."""
        deadline = time.monotonic() + seconds
        while not wanted(found := self.processes()):
            if time.monotonic() > deadline:
                servers = self.servers()
                return {pid: words for pid, words in found.items() if pid not in servers} or found
            time.sleep(0.02)
        return {}

    def end_all(self, leader: int | None = None) -> None:
        """Kill everything that was started with this home, ``leader`` first."""
        for _ in range(5):  # what was just being started is found the next time
            found = self.processes()
            for pid in sorted(found, key=lambda pid: pid != leader):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            if not found:
                return
            time.sleep(0.02)


def _entry(path: Path, *, varying: bool) -> tuple[str, int, int, int, str, int]:
    found = path.lstat()
    kind = stat.filemode(found.st_mode)[0]
    content = ""
    if kind == "l":
        content = os.readlink(path)
    elif kind == "-" and not varying:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
    mtime = found.st_mtime_ns if kind == "-" else 0
    return kind, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid, content, mtime


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def difference(
    expected: Mapping[str, tuple[object, ...]],
    found: Mapping[str, tuple[object, ...]],
    *,
    times: Iterable[str] = (),
    without: Iterable[str] = (),
) -> list[str]:
    """Return what differs, a line a path; mtimes count for the paths ``times``.

    Paths of ``without`` may be there though they are not expected.
    """
    times, without = set(times), set(without)
    said = [f"missing: {name}" for name in expected if name not in found]
    for name, entry in found.items():
        if name not in expected:
            if name not in without:
                said.append(f"left behind: {name}")
        elif (was := tuple(expected[name])[:-1]) != tuple(entry)[:-1]:
            said.append(f"differs: {name}: {was} became {tuple(entry)[:-1]}")
        elif name in times and expected[name][-1] != entry[-1]:
            said.append(f"mtime differs: {name}")
    return said

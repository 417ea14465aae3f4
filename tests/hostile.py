"""Images whose makers mean harm: links, loops, pipes and receipts that lead out of them."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

STATE = "var/lib/local-opus"


@dataclass(frozen=True)
class Image:
    """The folder of an image, and a folder beside it that nothing in the image may reach."""

    root: Path
    outside: Path

    def state(self) -> Path:
        folder = self.root / STATE
        folder.mkdir(parents=True)
        return folder


def make(top: Path) -> Image:
    """Make the skeleton of an image and the canary beside it."""
    image = Image(top / "image", top / "outside")
    for name in ("etc", "opt", "usr/local/bin", "var/lib", "run", "var/log"):
        (image.root / name).mkdir(parents=True)
    (image.root / "etc/group").write_text("root:x:0:\n")
    for name in ("bin", "models", "lib/local-opus", "systemd/system"):
        (image.outside / name).mkdir(parents=True)
    for name in ("group", "receipt.jsonl", "lock", "bin/local-opus", "models/weights.json"):
        (image.outside / name).write_text(f"the canary's {name}\n")
        (image.outside / name).chmod(0o640)
    return image


def snapshot(folder: Path) -> dict[str, tuple[str, int, int, str]]:
    """Return type and mode, owner, time of change and content of all that lies there."""
    found = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        its = path.lstat()
        content = ""
        if stat.S_ISREG(its.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(its.st_mode):
            content = os.readlink(path)
        found[str(path.relative_to(folder))] = (
            stat.filemode(its.st_mode), its.st_uid, 0 if path == folder else its.st_mtime_ns, content,
        )  # fmt: skip
    return found


def replaced(path: Path, target: str | Path) -> None:
    """Put a link in the place of an empty folder or a file."""
    if path.is_dir():
        path.rmdir()
    elif path.exists():
        path.unlink()
    path.symlink_to(target)


def _chain(image: Image, links: int) -> None:
    """/opt leads to /data over so many links."""
    (image.root / "data").mkdir()
    replaced(image.root / "opt", f"/l{links - 1}" if links > 1 else "/data")
    for number in range(1, links):
        target = "/data" if number == 1 else f"l{number - 1}"
        (image.root / f"l{number}").symlink_to(target)


def _device(image: Image) -> None:
    (image.root / "opt").rmdir()
    os.mknod(image.root / "opt", stat.S_IFCHR | 0o600, os.makedev(1, 3))


def _fifo(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    os.mkfifo(path)


def _bin_loop(image: Image) -> None:
    replaced(image.root / "usr/local/bin", "loop")
    (image.root / "usr/local/loop").symlink_to("/usr/local/bin")


#: What is done to the image, and the path that an install then names; None: it stays inside.
PLACES: dict[str, tuple[Callable[[Image], None], str | None]] = {
    "opt up and out": (lambda it: replaced(it.root / "opt", "../../../../outside"), "/opt"),
    "opt up one": (lambda it: replaced(it.root / "opt", "../outside"), "/opt"),
    "opt out by its whole path": (lambda it: replaced(it.root / "opt", it.outside), "/opt"),
    "opt by dots": (lambda it: replaced(it.root / "opt", "/usr/../../../outside/./bin/.."), "/opt"),
    "opt to itself": (lambda it: replaced(it.root / "opt", "/opt"), "/opt"),
    "opt elsewhere inside": (lambda it: replaced(it.root / "opt", "/var/../../var/lib"), None),
    "opt over 39 links": (lambda it: _chain(it, 39), None),
    "opt over 41 links": (lambda it: _chain(it, 41), "/opt"),
    "opt a pipe": (lambda it: _fifo(it.root / "opt"), "/opt"),
    "opt a device": (_device, "/opt"),
    "bin in a loop": (_bin_loop, "/usr/local/bin"),
    "bin out": (lambda it: replaced(it.root / "usr/local/bin", it.outside / "bin"), "/usr/local/bin"),
    "the prefix out": (lambda it: (it.root / "opt/local-opus").symlink_to(it.outside), "/opt/local-opus"),
    "the state out": (lambda it: (it.root / STATE).symlink_to(it.outside), "/var/lib/local-opus"),
    "the state at /outside": (lambda it: (it.root / STATE).symlink_to("/outside"), "/var/lib/local-opus"),
    "the receipt out": (lambda it: (it.state() / "receipt.jsonl").symlink_to(it.outside / "receipt.jsonl"),
                        "/var/lib/local-opus/receipt.jsonl"),
    "the receipt up and out": (lambda it: (it.state() / "receipt.jsonl").symlink_to("../../../../outside/receipt.jsonl"),
                               "/var/lib/local-opus/receipt.jsonl"),
    "the receipt a pipe": (lambda it: _fifo(it.state() / "receipt.jsonl"), "/var/lib/local-opus/receipt.jsonl"),
    "the head out": (lambda it: (it.state() / "receipt.head").symlink_to(it.outside / "group"),
                     "/var/lib/local-opus/receipt.head"),
    "the lock out": (lambda it: (it.state() / "lock").symlink_to(it.outside / "lock"), "/var/lib/local-opus/lock"),
    "the lock a pipe": (lambda it: _fifo(it.state() / "lock"), "/var/lib/local-opus/lock"),
    "the lock a folder": (lambda it: (it.state() / "lock").mkdir(), "/var/lib/local-opus/lock"),
    "what arrives out": (lambda it: (it.root / "var/lib/.local-opus-arriving").symlink_to(it.outside), None),
    "the log of a killed write out": (
        lambda it: ((it.root / "opt/local-opus/bin").mkdir(parents=True),
                    (it.root / "opt/local-opus/bin/.local-opus.local-opus-new").symlink_to(it.outside / "group"))[0],
        None),
}  # fmt: skip

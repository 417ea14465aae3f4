"""Whole trees: copied, told, and compared by content, mode, owner and, where it matters, time."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

#: What is at each path: type, mode, owner, content.
Tree = dict[str, tuple[str, ...]]
_OWN = (os.geteuid(), os.getegid())


def copy(source: Path, target: Path) -> None:
    """Copy a tree with modes, owners and times; links stay links."""
    _copy(str(source), str(target))


def _copy(source: str, target: str) -> None:
    os.mkdir(target, 0o700)
    with os.scandir(source) as found:
        for item in found:
            path = f"{target}/{item.name}"
            if item.is_symlink():
                os.symlink(os.readlink(item.path), path)
                _settle(item.stat(follow_symlinks=False), path, link=True)
            elif item.is_dir():
                _copy(item.path, path)
            else:
                _copy_file(item.path, path)
    _settle(os.stat(source), target)


def _copy_file(source: str, target: str) -> None:
    with open(source, "rb", buffering=0) as old, open(target, "xb", buffering=0) as new:
        while data := old.read(1 << 20):
            new.write(data)
        _settle(os.fstat(old.fileno()), new.fileno())


def _settle(found: os.stat_result, path: str | int, *, link: bool = False) -> None:
    follow = not link
    if (found.st_uid, found.st_gid) != _OWN:
        os.chown(path, found.st_uid, found.st_gid, **({} if follow else {"follow_symlinks": False}))
    if not link:
        os.chmod(path, stat.S_IMODE(found.st_mode))
        os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns))


def read(root: Path, left_out: Callable[[str], bool] = lambda _path: False) -> Tree:
    """Return what lies below ``root``, by path as seen from inside; files have their mtime last."""
    tree: Tree = {}
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(f"{root}{below}") as found:
            for item in found:
                path = f"{below}/{item.name}"
                if left_out(path):
                    continue
                is_ = item.stat(follow_symlinks=False)
                owner = f"{is_.st_uid}:{is_.st_gid}"
                if item.is_symlink():
                    tree[path] = ("link", owner, os.readlink(item.path))
                elif item.is_dir():
                    tree[path] = ("folder", f"{stat.S_IMODE(is_.st_mode):04o}", owner)
                    pending.append(path)
                else:
                    data = Path(item.path).read_bytes()
                    digest = hashlib.sha256(data).hexdigest()[:12]
                    mode = f"{stat.S_IMODE(is_.st_mode):04o}"
                    tree[path] = ("file", mode, owner, digest, str(is_.st_mtime_ns))
    return tree


def difference(expected: Tree, found: Tree, times: set[str]) -> list[str]:
    """Return what differs, one line a path; mtimes of the paths in ``times`` alone."""
    lines = []
    for path in sorted(expected.keys() | found.keys()):
        first, second = expected.get(path), found.get(path)
        if path not in times:
            first, second = first and first[:4], second and second[:4]
        if first != second:
            lines.append(f"{path}: {_words(first)} -> {_words(second)}")
    return lines


def _words(what: tuple[str, ...] | None) -> str:
    return " ".join(what) if what is not None else "absent"

"""The same file of two variants is stored once: both have it by a hard link.

Nothing here writes into a file. Who brings or repairs one writes another file and gives it the
name, so that a variant that shares the old one keeps it. A link changes the ctime of a file, which
quick verification compares: stamps that held before are made to hold again, and no others.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from local_opus.errors import LocalOpusError
from local_opus.weights import manifest as manifests
from local_opus.weights.digest import hash_stream
from local_opus.weights.stamps import FileStamp, Stamps, as_stamp, read_stamps
from local_opus.weights.store import drop_empty_partials, list_variants, partial_folder

if TYPE_CHECKING:
    from local_opus.host import FileStat, Host
    from local_opus.values import CatalogFile
    from local_opus.weights.manifest import Manifest, ManifestFile

#: Of one file alone: another one may still be shared.
_OF_ONE_FILE = {errno.EXDEV, errno.EMLINK, errno.ENOENT}
#: What link(2) says where it can't.
_NO_LINKS = {errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True)
class Shared:
    """How many files a variant shares since, the bytes that freed, and why others are not shared.

    ``problem`` None: nothing was in the way.
    """

    files: int = 0
    bytes: int = 0
    problem: str | None = None


@dataclass
class _Variant:
    """One variant as it was looked at: what the kernel said of its files, and its stamps."""

    folder: str
    manifest: Manifest
    digest: str
    stamps: dict[str, FileStamp]
    found: dict[str, FileStat]
    #: Files that were hashed here.
    hashed: set[str] = field(default_factory=set)

    def stamped(self, path: str) -> bool:
        """Whether a file is as it was when it was last proven."""
        stat = self.found.get(path)
        return stat is not None and self.stamps.get(path) == as_stamp(stat)


def find(host: Host, models: str, size: int, sha256: str) -> str | None:
    """Return a file of the store with this content, None where there is none.

    A manifest lists it, and its stamp or its hash proves it. Who takes it hashes what he takes:
    a manifest and its stamps can be changed by who can change the weights.
    """
    for item in list_variants(host, models):
        for file in item.manifest.files if item.manifest is not None else ():
            if (file.size, file.sha256) != (size, sha256):
                continue
            variant = _look(host, item.folder)
            if variant is not None and _proven(host, variant, file):
                return f"{item.folder}/{file.path}"
    return None


def take(host: Host, models: str, folder: str, pins: Iterable[CatalogFile]) -> None:
    """Give ``folder`` the pinned files that it lacks and the store has, so that none comes twice.

    They are links, and the caller hashes them. ``share`` renews the stamps that a link outdates.
    """
    for pin in pins:
        target = f"{folder}/{pin.path}"
        if host.files.stat(target) is not None:
            continue
        source = find(host, models, pin.size, pin.sha256)
        if source is None:
            continue
        host.files.make_folders(target.rpartition("/")[0])
        try:
            host.files.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return  # this disk has none: the file is fetched


def share(host: Host, models: str, folder: str) -> Shared:
    """Let the variant ``folder`` have by a link what another variant has already.

    A file is given up only for one that is proven to be the same, with the same owner and mode.
    What can't be shared stays as it is: ``problem`` of the result says why. The caller holds the
    lock of the install, so nobody else changes the store. Raises OSError as reading the store does.
    """
    own = _look(host, folder)
    if own is None:
        return Shared()
    others = [
        variant
        for item in list_variants(host, models)
        if item.folder != folder and (variant := _look(host, item.folder)) is not None
    ]
    pairs = [
        (file, variant, other)
        for file in own.manifest.files
        for variant in others
        for other in variant.manifest.files
        if file.size and (other.size, other.sha256) == (file.size, file.sha256)
    ]
    if not pairs:
        return Shared()
    try:
        return _share(host, own, others, pairs)
    finally:
        drop_empty_partials(host, folder)


def _share(
    host: Host,
    own: _Variant,
    others: list[_Variant],
    pairs: list[tuple[ManifestFile, _Variant, ManifestFile]],
) -> Shared:
    done: set[str] = set()
    touched: set[tuple[int, int]] = set()
    freed, problem = 0, None
    for file, variant, other in pairs:
        mine, its = own.found.get(file.path), variant.found.get(other.path)
        if file.path in done or mine is None or its is None or not _alike(mine, its):
            continue
        if mine.inode == its.inode:
            done.add(file.path)
            # Of a run that was killed before it came to the stamps: one of them proves both.
            if own.stamped(file.path) or variant.stamped(other.path):
                own.hashed.add(file.path)
                variant.hashed.add(other.path)
                touched.add((its.device, its.inode))
            continue
        if not (_proven(host, own, file) and _proven(host, variant, other)):
            continue
        try:
            _link(host, f"{variant.folder}/{other.path}", own.folder, file.path)
        except OSError as error:
            problem = f"{own.folder}/{file.path}: {(error.strerror or str(error)).lower()}"
            if error.errno in _OF_ONE_FILE:
                continue
            break
        done.add(file.path)
        touched.add((its.device, its.inode))
        own.found[file.path], freed = its, freed + (file.size if mine.links == 1 else 0)
        own.hashed.add(file.path)
    for variant in (own, *others):
        _renew(host, variant, touched)
    return Shared(len(done), freed, problem)


def _alike(mine: FileStat, its: FileStat) -> bool:
    """Whether one file can stand for both: on one disk, with the same owner and mode."""
    return (mine.device, mine.uid, mine.gid, mine.mode) == (
        its.device, its.uid, its.gid, its.mode,
    )  # fmt: skip


def _link(host: Host, source: str, folder: str, path: str) -> None:
    """Give ``source`` the name ``folder``/``path``, which another file has until then."""
    new = f"{partial_folder(folder)}.partial-link"  # a kill here leaves a partial like others
    host.files.make_folders(new.rpartition("/")[0])
    host.files.discard(new)
    host.files.link(source, new)
    try:
        host.files.rename(new, f"{folder}/{path}")
    except BaseException:
        host.files.discard(new)
        raise


@contextmanager
def keeping_stamps(host: Host, models: str, folders: Collection[str]) -> Iterator[None]:
    """Let the stamps of other variants hold while ``folders`` lose files that they share.

    ``folders`` are variants, or models with all of theirs.
    """
    gone = {
        (stat.device, stat.inode)
        for folder in folders
        if host.files.stat(folder) is not None
        for _, stat in host.files.walk(folder)
        if stat.kind == "file" and stat.links > 1
    }
    others = []
    for item in list_variants(host, models) if gone else ():
        inside = any(f"{item.folder}/".startswith(f"{folder}/") for folder in folders)
        variant = None if inside else _look(host, item.folder)
        if variant is not None:
            others.append(variant)
    yield
    for variant in others:
        _renew(host, variant, gone)


def freed_by(host: Host, folder: str) -> int:
    """Return the bytes that the removal of ``folder`` frees: of files that lie in it alone."""
    names: dict[tuple[int, int], int] = {}
    stats = {}
    for _, stat in host.files.walk(folder):
        key = stat.device, stat.inode
        names[key] = names.get(key, 0) + 1
        stats[key] = stat
    return sum(stat.size for key, stat in stats.items() if names[key] >= stat.links)


def _look(host: Host, folder: str) -> _Variant | None:
    """Look at a variant; None where it has no manifest that can be read."""
    try:
        manifest, digest = manifests.read_with_digest(host, folder)
    except LocalOpusError:  # it proves nothing, so nothing is shared with it
        return None
    stats = ((file.path, host.files.stat(f"{folder}/{file.path}")) for file in manifest.files)
    found = {path: stat for path, stat in stats if stat is not None and stat.kind == "file"}
    return _Variant(folder, manifest, digest, read_stamps(host, folder, digest), found)


def _proven(host: Host, variant: _Variant, file: ManifestFile) -> bool:
    """Whether a file is what its manifest says: by its stamp, else by its sha256."""
    if variant.stamped(file.path) or file.path in variant.hashed:
        return True
    path, stat = f"{variant.folder}/{file.path}", variant.found.get(file.path)
    if stat is None or stat.size != file.size:
        return False
    try:
        with host.files.open_read(path, follow=False) as stream:
            digests = hash_stream(stream, limit=file.size, want_blake3=False)
    except OSError:  # nobody can use what can't be read
        return False
    if digests.sha256 != file.sha256 or host.files.stat(path) != stat:
        return False
    variant.hashed.add(file.path)
    return True


def _renew(host: Host, variant: _Variant, touched: Collection[tuple[int, int]]) -> None:
    """Write the stamps anew of files that a link touched, as far as they were proven before."""
    stamps = dict(variant.stamps)
    for path, before in variant.found.items():
        if (before.device, before.inode) not in touched:
            continue
        if not (variant.stamped(path) or path in variant.hashed):
            continue
        now = host.files.stat(f"{variant.folder}/{path}")
        if now is not None and _same_but_ctime(before, now):
            stamps[path] = as_stamp(now)
    if stamps != variant.stamps:
        data = Stamps(manifest_sha256=variant.digest, files=stamps).written()
        host.files.write_atomic(f"{variant.folder}/{manifests.STAT_NAME}", data, mode=0o644)


def _same_but_ctime(before: FileStat, now: FileStat) -> bool:
    return (before.kind, before.size, before.device, before.inode, before.mtime_ns) == (
        now.kind, now.size, now.device, now.inode, now.mtime_ns,
    )  # fmt: skip

"""The last steps of every source: bytes arrive in a partial file, are proven, get their name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pydantic import JsonValue

from local_opus.errors import LocalOpusError, MachineCannotError
from local_opus.refusals import is_full
from local_opus.values import CatalogFile, Trust
from local_opus.weights.classify import suffix_of
from local_opus.weights.digest import SEGMENT_SIZE, Digests, Hasher, hash_stream
from local_opus.weights.door import Progress
from local_opus.weights.inspect import inspect_file
from local_opus.weights.manifest import Origin
from local_opus.weights.salvage import Known, suppress_unreadable
from local_opus.weights.structure import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local_opus.host import Host

#: Bytes that stay free beside what is fetched: the system and its logs go on.
SPACE_MARGIN = 64 * 1024 * 1024
GB = 1_000_000_000


#: What an earlier manifest knows of the files' parts, by path.
Listed = Mapping[str, Known]


@dataclass(frozen=True)
class Fetched:
    """One file in its place. ``new`` is false where it was there before."""

    path: str
    digests: Digests
    origin: Origin
    trust: Trust
    structure: dict[str, JsonValue]
    new: bool


def check_space(host: Host, folder: str, need: int, what: str) -> None:
    """Raise MachineCannotError with figures when ``folder``'s disk can't take ``need`` bytes."""
    free = host.files.space(folder).free
    if free < need + SPACE_MARGIN:
        raise MachineCannotError(
            f"{folder}: {what} needs {(need + SPACE_MARGIN) / GB:.2f} GB, "
            f"{free / GB:.2f} GB are free",
            "Free some space, or choose a smaller model with `local-opus models list`.",
        )


@contextmanager
def disk_errors(folder: str) -> Iterator[None]:
    """Turn the OSErrors of writing below ``folder`` into errors with a remedy."""
    try:
        yield
    except OSError as error:
        if is_full(error):
            raise MachineCannotError(
                f"{folder}: the disk is full", "Free some space and run this again: it resumes."
            ) from error
        raise LocalOpusError(
            f"{folder}: {error.strerror or error}",
            "Look at the disk and the folder's permissions, then run this again.",
        ) from error


def digests_in_place(
    host: Host, path: str, file: CatalogFile, on_bytes: Callable[[int], None] | None = None
) -> Digests | None:
    """Return the digests of ``path`` when it is exactly the pinned file; None otherwise."""
    stat = host.files.stat(path)
    digests = None
    if stat is None or stat.kind != "file" or stat.size != file.size:
        return None
    with suppress_unreadable(), host.files.open_read(path, follow=False) as stream:
        digests = hash_stream(stream, limit=file.size, segment_size=SEGMENT_SIZE, on_bytes=on_bytes)
    return digests if digests is not None and digests.sha256 == file.sha256 else None


def receive(
    host: Host,
    partial: str,
    file: CatalogFile,
    chunks: Iterable[bytes],
    *,
    source: str,
    progress: Progress | None,
) -> Digests:
    """Write ``chunks`` to ``partial`` and return their digests when they are the pinned file.

    Otherwise the partial file is removed and LocalOpusError names the file, what was expected and
    what came. Stops at the first byte more than the pinned size.
    """
    hasher = Hasher(segment_size=SEGMENT_SIZE)
    size = 0
    try:
        with host.files.open_in_place(partial) as stream:
            stream.truncate(0)
            for chunk in chunks:
                size += len(chunk)
                if size > file.size:
                    break
                stream.write(chunk)
                hasher.update(chunk)
                if progress is not None:
                    progress(f"unpack {file.path}", size, file.size)
    except BaseException:  # a broken archive, a full disk, Ctrl-C: what came can't be continued
        host.files.discard(partial)
        raise
    digests = hasher.result()
    if size != file.size:
        host.files.remove(partial)
        more = "more than " if size > file.size else ""
        got = min(size, file.size)
        raise mismatch(file, source, f"{file.size} bytes", f"{more}{got}")
    if digests.sha256 != file.sha256:
        host.files.remove(partial)
        raise mismatch(file, source, f"sha256 {file.sha256}", str(digests.sha256))
    return digests


class OtherFileError(LocalOpusError):
    """A source has another file than the pinned one; another mirror may have the right one."""


def mismatch(
    file: CatalogFile, source: str, expected: str, got: str, remedy: str | None = None
) -> OtherFileError:
    """Return the error for a file that is not the one that the catalog pins."""
    return OtherFileError(
        f"{file.path} from {source} is not the pinned file: expected {expected}, got {got}",
        remedy or "Try again; if it stays so, the source or a proxy serves another file.",
    )


def settle(host: Host, partial: str, target: str, file: CatalogFile) -> dict[str, JsonValue]:
    """Check the structure of a proven partial file and give it its name; return its facts.

    Halves of an IR are left to the caller: they are checked when both have their names. Raises
    LocalOpusError, with the partial file removed, when its structure is refused.
    """
    folder, _, name = partial.rpartition("/")
    finding = None
    if suffix_of(name) not in {".xml", ".bin"}:
        finding = inspect_file(host, folder, name, file.size)
        if finding.refusal is not None:
            host.files.remove(partial)
            raise refused(file.path, finding.refusal)
    host.files.set_mode(partial, 0o644)
    host.files.sync(partial)
    host.files.make_folders(target.rpartition("/")[0])
    host.files.rename(partial, target)
    return dict(finding.summary or {}) if finding is not None else {}


def with_structure(host: Host, folder: str, item: Fetched) -> Fetched:
    """Add the facts of a file's structure; a graph is checked with its constants beside it."""
    finding = inspect_file(host, folder, item.path, item.digests.size)
    if finding.refusal is not None:
        raise refused(item.path, finding.refusal)
    return replace(item, structure={**(finding.summary or {})})


def refused(path: str, refusal: Refusal) -> LocalOpusError:
    """Return the error for a file that is the pinned one and still not sound."""
    return LocalOpusError(
        f"{path}: {refusal.verdict}: {refusal.reason}",
        "The catalog pins a broken file; choose another model and report this one.",
    )


def partial_name(file: CatalogFile) -> str:
    """Return a name for the partial file that keeps the suffix: it says how to check it."""
    stem = file.path.replace("/", "__")
    return f"{stem.removesuffix(suffix_of(stem))}.{file.sha256[:8]}{suffix_of(file.path)}"

"""The verdict of every file of a folder, one that was installed here or a stranger's.

A verification is a result, not an exception: only a folder that isn't there raises. Files are read
without following links, and each is compared before and after with what the kernel says of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from local_opus.errors import BadInputError, LocalOpusError
from local_opus.values import CatalogFile, FileVerdict, Trust, Verdict
from local_opus.weights import manifest as manifests
from local_opus.weights.contents import contents, where
from local_opus.weights.door import Machine, Progress, Reader
from local_opus.weights.expected import Expected, claimed_files, expected_files
from local_opus.weights.folder import judge_folder
from local_opus.weights.inspect import Inspector
from local_opus.weights.judge import Judge, Work, make_verdict, with_folder
from local_opus.weights.pieces import Meter, hash_pieces
from local_opus.weights.seen import Seen
from local_opus.weights.stamps import (
    STAT_NAME,
    FileStamp,
    as_stamp,
    read_stamps,
    stamps_damage,
)
from local_opus.weights.structure import printable

#: Files hashed at the same time at most, each with a buffer of its own.
MOST_WORKERS = 32

#: The worst first: what a summary and an exit code go by.
SEVERITY = (
    Verdict.UNSAFE,
    Verdict.CORRUPT,
    Verdict.TRUNCATED,
    Verdict.PLACEHOLDER,
    Verdict.MISSING,
    Verdict.UNEXPECTED,
    Verdict.UNPROVEN,
    Verdict.REAL,
)
#: What no install and no repair touches: it removes no file that it did not bring.
FOREIGN = frozenset({Verdict.UNEXPECTED, Verdict.UNSAFE})
_OWN = frozenset({manifests.NAME, STAT_NAME})


class Against(Protocol):
    """A list from elsewhere that a folder is compared with, in place of its own manifest."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def list_name(self) -> str | None:
        """Said of files that it does not name; None: it has no say in them."""

    def expected(self, found: Collection[str]) -> Mapping[str, Expected]:
        """Return what each path must be; one that is not ``found`` is missing."""

    def ignored(self, path: str) -> bool:
        """Whether a path belongs to the way in which the folder came, not to the model."""


@dataclass(frozen=True)
class Examined:
    """The verdicts by path, and what was seen of each file before it was read."""

    verdicts: tuple[FileVerdict, ...]
    seen: Seen


def worst(verdicts: Iterable[FileVerdict]) -> Verdict:
    """Return the worst verdict; ``missing`` of no files at all."""
    found = {item.verdict for item in verdicts}
    return next((verdict for verdict in SEVERITY if verdict in found), Verdict.MISSING)


def is_proven(verdicts: Sequence[FileVerdict]) -> bool:
    """Whether there are files and every one is real."""
    return worst(verdicts) is Verdict.REAL


def verify_folder(
    host: Machine,
    folder: str,
    *,
    quick: bool = False,
    catalog_files: Iterable[CatalogFile] | None = None,
    known_files: Iterable[CatalogFile] = (),
    manifest_sha256: str | None = None,
    progress: Progress | None = None,
) -> tuple[FileVerdict, ...]:
    """Return the verdict of every file of ``folder`` (or of the one file it names), by path.

    ``catalog_files`` are the files this folder must have, as the catalog pins them; they outrank
    the manifest. ``known_files`` are pins that a file may match under any name. ``quick`` believes
    a file whose size, inode, mtime and ctime are as they were when it was hashed, and hashes the
    others. ``manifest_sha256`` is the manifest's digest as the receipt holds it: the manifest then
    gets a verdict too. Raises BadInputError when nothing is at ``folder``.
    """
    return examine(
        host,
        folder,
        quick=quick,
        catalog_files=catalog_files,
        known_files=known_files,
        manifest_sha256=manifest_sha256,
        progress=progress,
    ).verdicts


def examine(
    host: Machine,
    folder: str,
    *,
    quick: bool = False,
    catalog_files: Iterable[CatalogFile] | None = None,
    known_files: Iterable[CatalogFile] = (),
    manifest_sha256: str | None = None,
    against: Against | None = None,
    pins_trust: Trust = Trust.PINNED,
    stranger: bool = False,
    stamps_too: bool = False,
    progress: Progress | None = None,
) -> Examined:
    """Verify as ``verify_folder`` does; also return what was seen, for ``changed_since``.

    With ``against`` the folder's manifest, the catalog's files and ``quick`` say nothing.
    ``pins_trust`` is that of the catalog's files. ``stranger``: whose folder it is, is not known,
    so that its manifest proves nothing; it only tells whether the files are those that it lists.
    ``stamps_too``: damaged stamps get a verdict; they prove nothing, but tell of a failing disk.
    """
    only, folder = where(host, folder)
    found = contents(host, folder, only)
    seen = {path: as_stamp(stat) for path, stat in found.items() if path != STAT_NAME}
    if against is not None:
        listed = _Listed((), {}, {}, against.list_name)
        found = {path: stat for path, stat in found.items() if not against.ignored(path)}
        expected = against.expected(found if only is None else [only])
    else:
        found = {path: stat for path, stat in found.items() if path not in _OWN}
        pins = tuple(catalog_files or ())
        claims = tuple(known_files) if stranger else None
        listed = _listed(host, folder, manifest_sha256, pins, pins_trust, claims, quick=quick)
        expected = listed.expected
    if only is not None:
        expected = {path: item for path, item in expected.items() if path == only}
    meter = Meter(progress, sum(stat.size for stat in found.values() if stat.kind == "file"))
    inspector = Inspector(host, folder, found)
    judge = Judge(
        host, folder, found, expected, listed.stamps, tuple(known_files), listed.name, meter,
        inspector,
    )  # fmt: skip
    verdicts = [*listed.verdicts, *_judged(host, judge)]
    if stamps_too and (damage := stamps_damage(host, folder)) is not None:
        verdicts.append(make_verdict(STAT_NAME, Verdict.CORRUPT, damage))
    verdicts.extend(
        make_verdict(
            path,
            Verdict.MISSING,
            f"{expected[path].source} lists it",
            compared=(f"{expected[path].size} bytes", "no file", expected[path].source),
        )
        for path in expected.keys() - found.keys()
    )
    if (listed.name is None or (stranger and against is None)) and only is None:
        verdicts = with_folder(verdicts, judge_folder(host, folder, inspector, found))
    return Examined(tuple(sorted(verdicts, key=lambda item: item.path)), seen)


def _judged(host: Machine, judge: Judge) -> list[FileVerdict]:
    """Look at every file, hash what needs it on every core, and judge that."""
    with ThreadPoolExecutor(min(MOST_WORKERS, max(1, host.cores))) as pool:
        try:
            looked = list(pool.map(judge.look, judge.found))
            work = [item for item in looked if isinstance(item, Work)]
            pieces = [piece for item in work for piece in item.pieces]
            digests = hash_pieces(host, judge.folder, pieces, judge.meter, pool)
            verdicts = [item for item in looked if not isinstance(item, Work)]
            verdicts += [
                judge.conclude(item, [digests[piece] for piece in item.pieces]) for item in work
            ]
        except BaseException:  # Ctrl-C: don't wait for gigabytes to be hashed to their end
            judge.meter.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return verdicts


@dataclass(frozen=True)
class _Listed:
    """What the folder's own manifest comes to, with verdicts on itself."""

    verdicts: tuple[FileVerdict, ...]
    expected: Mapping[str, Expected]
    stamps: Mapping[str, FileStamp]
    name: str | None


def _listed(
    host: Reader,
    folder: str,
    receipt_says: str | None,
    pins: tuple[CatalogFile, ...],
    trust: Trust,
    claims: tuple[CatalogFile, ...] | None,
    *,
    quick: bool,
) -> _Listed:
    try:
        manifest, digest = manifests.read_with_digest(host, folder)
        if claims is not None:
            return _Listed((), claimed_files(manifest, claims), {}, manifests.NAME)
    except LocalOpusError as error:
        expected = expected_files(None, pins, pins_trust=trust)
        return _Listed(_no_manifest(error, receipt_says), expected, {}, None)
    refuted = receipt_says is not None and digest != receipt_says
    verdicts = () if receipt_says is None else (_own_verdict(digest, receipt_says),)
    expected = expected_files(
        manifest,
        pins,
        pins_trust=trust,
        attested=receipt_says is not None and not refuted,
        refuted=refuted,
    )
    stamps = read_stamps(host, folder, digest) if quick and not refuted else {}
    return _Listed(verdicts, expected, stamps, manifests.NAME)


def _no_manifest(error: LocalOpusError, receipt_says: str | None) -> tuple[FileVerdict, ...]:
    if not isinstance(error, BadInputError):
        denied = isinstance(error.__cause__, PermissionError)
        verdict = Verdict.UNPROVEN if denied else Verdict.CORRUPT
        return (make_verdict(manifests.NAME, verdict, printable(error.message, 300)),)
    if receipt_says is None:
        return ()
    compared = (f"sha256 {receipt_says}", "no file", "the receipt")
    words = "the receipt holds its digest"
    return (make_verdict(manifests.NAME, Verdict.MISSING, words, compared=compared),)


def _own_verdict(digest: str, receipt_says: str) -> FileVerdict:
    compared = (f"sha256 {receipt_says}", f"sha256 {digest}", "the receipt")
    if digest == receipt_says:
        words = "the receipt holds its sha256"
        return make_verdict(manifests.NAME, Verdict.REAL, words, Trust.DERIVED, compared=compared)
    words = f"sha256 is {digest}, the receipt says {receipt_says}"
    return make_verdict(manifests.NAME, Verdict.CORRUPT, words, compared=compared)

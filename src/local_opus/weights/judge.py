"""Judges single files of a folder: against a list that names them, or by what they are."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from posixpath import basename, dirname, join, normpath
from threading import Lock

from local_opus.values import CatalogFile, FileVerdict, Trust, Verdict
from local_opus.weights import manifest as manifests
from local_opus.weights.digest import Digests, hash_stream
from local_opus.weights.door import Progress, Reader, Stat
from local_opus.weights.expected import Expected
from local_opus.weights.inspect import Inspector
from local_opus.weights.structure import Refusal, printable


def make_verdict(
    path: str, verdict: Verdict, evidence: str, trust: Trust | None = None
) -> FileVerdict:
    """Return a verdict whose path is fit to print, whatever bytes the name holds."""
    return FileVerdict(path=printable(path, 500), verdict=verdict, trust=trust, evidence=evidence)


def with_folder(
    verdicts: Sequence[FileVerdict], together: Iterable[tuple[str, Refusal]]
) -> list[FileVerdict]:
    """Return the verdicts with what the files of a folder tell together.

    It outranks only that nothing proves a file, and adds files that lack.
    """
    by_path = {item.path: item for item in verdicts}
    for path, refusal in together:
        made = make_verdict(path, refusal.verdict, refusal.reason)
        known = by_path.get(made.path)
        if known is None:
            by_path[made.path] = made
        elif known.verdict is Verdict.UNPROVEN:
            evidence = f"{known.evidence}; {made.evidence}" if made.verdict == known.verdict else ""
            by_path[made.path] = known.model_copy(
                update={"verdict": made.verdict, "evidence": evidence or made.evidence}
            )
    return list(by_path.values())


class StoppedError(Exception):
    """The caller gave up; threads that still hash end at their next read."""


class Meter:
    """Adds up the bytes that several threads read."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._lock = Lock()
        self._stopped = False

    def stop(self) -> None:
        """Make every further ``add`` raise StoppedError."""
        self._stopped = True

    def add(self, count: int) -> None:
        """Count bytes and report them."""
        if self._stopped:
            raise StoppedError
        if self._progress is not None:
            with self._lock:
                self._done += count
                self._progress("verify", min(self._done, self._total), self._total)


@dataclass(frozen=True)
class Judge:
    """Judges the files of one folder."""

    host: Reader
    folder: str
    found: Mapping[str, Stat]
    expected: Mapping[str, Expected]
    stamps: Mapping[str, manifests.FileStamp]
    known: tuple[CatalogFile, ...]
    manifest: manifests.Manifest | None
    meter: Meter
    inspector: Inspector

    def verdict(self, path: str) -> FileVerdict:
        """Return the verdict of one path of the walk."""
        try:
            return self._judge(path, self.found[path])
        except PermissionError:
            return make_verdict(path, Verdict.UNPROVEN, "can't be read: permission denied")
        except FileNotFoundError:
            return make_verdict(path, Verdict.MISSING, "was removed while the folder was verified")
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.EINVAL}:
                return make_verdict(
                    path, Verdict.UNSAFE, "was replaced while the folder was verified"
                )
            return make_verdict(path, Verdict.CORRUPT, f"can't be read: {error.strerror or error}")

    def _judge(self, path: str, stat: Stat) -> FileVerdict:
        if stat.kind == "link":
            return self._link(path)
        if stat.kind != "file":
            return make_verdict(path, Verdict.UNSAFE, "a FIFO, socket or device")
        expected = self.expected.get(path)
        verdict = (
            self._unlisted(path, stat) if expected is None else self._listed(path, stat, expected)
        )
        after = self.host.files.stat(f"{self.folder}/{path}")
        if after is None or _identity(after) != _identity(stat):
            return make_verdict(path, Verdict.CORRUPT, "changed while it was read")
        return verdict

    def _link(self, path: str) -> FileVerdict:
        written = self.host.files.read_link(f"{self.folder}/{path}")
        target = normpath(join(dirname(path), written))
        shown = f"a link to {printable(written)!r}"
        if written.startswith("/") or target == ".." or target.startswith("../"):
            return make_verdict(path, Verdict.UNSAFE, f"{shown}, out of the folder")
        if path in self.expected or self.manifest is not None:
            return make_verdict(path, Verdict.UNEXPECTED, f"{shown}, where the list has no link")
        stat = self.found.get(target)
        if stat is None or stat.kind != "file":
            return make_verdict(
                path, Verdict.UNEXPECTED, f"{shown}, which is no file of the folder"
            )
        found = self._unlisted(target, stat, named=path)
        return make_verdict(path, found.verdict, f"{shown}: {found.evidence}", found.trust)

    def _hash(self, path: str, stat: Stat, **want: bool) -> Digests:
        return self._hash_cut(path, stat, 0, self.meter.add, **want)

    def _hash_cut(
        self,
        path: str,
        stat: Stat,
        segment_size: int,
        on_bytes: Callable[[int], None] | None,
        **want: bool,
    ) -> Digests:
        with self.host.files.open_read(f"{self.folder}/{path}", follow=False) as stream:
            return hash_stream(
                stream, limit=stat.size, segment_size=segment_size, on_bytes=on_bytes, **want
            )

    # -- files that a list names ----------------------------------------------------------------

    def _listed(self, path: str, stat: Stat, expected: Expected) -> FileVerdict:
        if stat.size != expected.size:
            return self._wrong_size(path, stat, expected)
        stamp = self.stamps.get(path)
        if expected.blake3 is not None and stamp is not None and stamp == _stamp(stat):
            self.meter.add(stat.size)
            how = "not touched since it was hashed (size, inode, mtime, ctime)"
            return self._matches(path, expected, how)
        by_sha256 = expected.by_sha256
        digests = self._hash(path, stat, want_sha256=by_sha256, want_blake3=not by_sha256)
        name, got, want = (
            ("sha256", digests.sha256, expected.sha256)
            if by_sha256
            else ("blake3", digests.blake3, expected.blake3)
        )
        if got == want:
            return self._matches(path, expected, f"{name} matches {expected.source}")
        finding = self.inspector.look(path, stat.size)
        if finding.refusal is not None and finding.refusal.verdict is Verdict.PLACEHOLDER:
            return make_verdict(path, Verdict.PLACEHOLDER, finding.text)
        evidence = f"{name} is {got}, {expected.source} says {want}"
        evidence += self._damage(path, stat, expected)
        return make_verdict(path, Verdict.CORRUPT, evidence)

    @staticmethod
    def _matches(path: str, expected: Expected, how: str) -> FileVerdict:
        if expected.trust is Trust.UNPROVEN:
            how += "; its origin is not proven"
            return make_verdict(path, Verdict.UNPROVEN, how, expected.trust)
        return make_verdict(path, Verdict.REAL, how, expected.trust)

    def _wrong_size(self, path: str, stat: Stat, expected: Expected) -> FileVerdict:
        finding = self.inspector.look(path, stat.size)
        states = f"{stat.size} bytes, {expected.source} says {expected.size}"
        refused = finding.refusal.verdict if finding.refusal is not None else None
        if refused is Verdict.PLACEHOLDER and stat.size:
            return make_verdict(path, Verdict.PLACEHOLDER, f"{finding.text}; {states}")
        if refused is Verdict.UNSAFE:
            return make_verdict(path, Verdict.UNSAFE, f"{finding.text}; {states}")
        shorter = Verdict.TRUNCATED if stat.size < expected.size else Verdict.CORRUPT
        return make_verdict(path, shorter, states)

    def _damage(self, path: str, stat: Stat, expected: Expected) -> str:
        """Say which segments differ, where the manifest knows them."""
        if not expected.segments:
            return ""
        cut = self._hash_cut(
            path, stat, expected.segment_size, None, want_sha256=False, want_blake3=False
        )
        pairs = zip(cut.segments, expected.segments, strict=False)
        bad = [number for number, (got, want) in enumerate(pairs) if got != want]
        begin = bad[0] * expected.segment_size if bad else 0
        return (
            f"; {len(bad)} of {len(expected.segments)} segments differ, the first begins at byte "
            f"{begin}"
        )

    # -- files that no list names ---------------------------------------------------------------

    def _unlisted(self, path: str, stat: Stat, *, named: str | None = None) -> FileVerdict:
        finding = self.inspector.look(path, stat.size, named=named)
        if finding.refusal is not None and finding.refusal.verdict in {
            Verdict.UNSAFE,
            Verdict.PLACEHOLDER,
        }:
            self.meter.add(stat.size)
            return make_verdict(path, finding.refusal.verdict, finding.text)
        if self.manifest is not None:
            self.meter.add(stat.size)
            evidence = f"{manifests.NAME} does not list it ({finding.text})"
            return make_verdict(path, Verdict.UNEXPECTED, evidence)
        pins = [pin for pin in self.known if pin.size == stat.size]
        if pins:
            digests = self._hash(path, stat, want_blake3=False)
            for pin in pins:
                if pin.sha256 == digests.sha256:
                    evidence = f"sha256 matches {basename(pin.path)} of the catalog"
                    return make_verdict(path, Verdict.REAL, evidence, Trust.PINNED)
        else:
            self.meter.add(stat.size)
        if finding.refusal is not None:
            return make_verdict(path, finding.refusal.verdict, finding.text)
        evidence = f"{finding.text}; nothing proves its content"
        return make_verdict(path, Verdict.UNPROVEN, evidence, Trust.UNPROVEN)


def _identity(stat: Stat) -> tuple[int, int, int, int]:
    return stat.size, stat.inode, stat.mtime_ns, stat.ctime_ns


def _stamp(stat: Stat) -> manifests.FileStamp:
    return manifests.FileStamp(
        size=stat.size, inode=stat.inode, mtime_ns=stat.mtime_ns, ctime_ns=stat.ctime_ns
    )

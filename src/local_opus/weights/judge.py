"""Judges single files of a folder: against a list that names them, or by what they are.

A file is looked at first. Where only its content can tell, that answers with the pieces to hash,
and the verdict follows from their digests.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from posixpath import basename, dirname, join, normpath

from local_opus.values import CatalogFile, FileVerdict, Trust, Verdict
from local_opus.weights import manifest as manifests
from local_opus.weights.digest import hash_piece
from local_opus.weights.door import Reader, Stat
from local_opus.weights.expected import Expected
from local_opus.weights.inspect import Inspector
from local_opus.weights.pieces import Meter, Piece
from local_opus.weights.stamps import FileStamp, as_stamp
from local_opus.weights.structure import Refusal, printable

#: Verdicts on an unlisted file that hold whatever its digest is.
_SETTLED = {Verdict.UNSAFE, Verdict.PLACEHOLDER}


def make_verdict(
    path: str,
    verdict: Verdict,
    evidence: str,
    trust: Trust | None = None,
    *,
    compared: tuple[str, str, str] | None = None,
) -> FileVerdict:
    """Return a verdict whose path is fit to print, whatever bytes the name holds.

    ``compared``: what was expected, what was found, and where.
    """
    expected, found, where = compared or (None, None, None)
    return FileVerdict(
        path=printable(path, 500),
        verdict=verdict,
        trust=trust,
        evidence=evidence,
        expected=expected,
        found=found,
        where=where,
    )


def with_folder(
    verdicts: Sequence[FileVerdict], together: Iterable[tuple[str, Refusal]]
) -> list[FileVerdict]:
    """Return the verdicts with what the files of a folder tell together.

    It outranks only that nothing proves a file, and adds files that lack. Two files whose names are
    printed alike keep a verdict each.
    """
    told = {made.path: made for made in (_told(path, refusal) for path, refusal in together)}
    printed = {item.path for item in verdicts}
    lacking = [made for path, made in told.items() if path not in printed]
    return [*(_outranked(item, told.get(item.path)) for item in verdicts), *lacking]


def _told(path: str, refusal: Refusal) -> FileVerdict:
    return make_verdict(path, refusal.verdict, refusal.reason)


def _outranked(known: FileVerdict, made: FileVerdict | None) -> FileVerdict:
    if made is None or known.verdict is not Verdict.UNPROVEN:
        return known
    same = made.verdict is known.verdict
    evidence = f"{known.evidence}; {made.evidence}" if same else made.evidence
    return known.model_copy(update={"verdict": made.verdict, "evidence": evidence})


@dataclass(frozen=True)
class Work:
    """A file that must be hashed: its pieces, and what their digests come to."""

    path: str
    pieces: tuple[Piece, ...]
    conclude: Callable[[Sequence[str]], FileVerdict]


@dataclass(frozen=True)
class Judge:
    """Judges the files of one folder.

    ``stranger`` is the verdict on files that a list does not name; None: there is no list, and
    they are judged by what they are.
    """

    host: Reader
    folder: str
    found: Mapping[str, Stat]
    expected: Mapping[str, Expected]
    stamps: Mapping[str, FileStamp]
    known: tuple[CatalogFile, ...]
    list_name: str | None
    meter: Meter
    inspector: Inspector

    def look(self, path: str) -> FileVerdict | Work:
        """Return the verdict on one path of the walk, or the work that it takes."""
        try:
            return self._look(path, self.found[path])
        except OSError as error:
            return _unreadable(path, error)

    def conclude(self, work: Work, digests: Sequence[str | OSError]) -> FileVerdict:
        """Return the verdict that the pieces' digests come to."""
        errors = [item for item in digests if isinstance(item, OSError)]
        try:
            if errors:
                raise errors[0]
            verdict = work.conclude([str(item) for item in digests])
            read = work.pieces[0].path
            after = self.host.files.stat(f"{self.folder}/{read}")
        except OSError as error:
            return _unreadable(work.path, error)
        if after is None or as_stamp(after) != as_stamp(self.found[read]):
            return make_verdict(work.path, Verdict.CORRUPT, "changed while it was read")
        return verdict

    def _look(self, path: str, stat: Stat) -> FileVerdict | Work:
        if stat.kind == "link":
            return self._link(path)
        if stat.kind == "folder":
            return make_verdict(path, Verdict.UNSAFE, "nested too deep to look at what it holds")
        if stat.kind != "file":
            return make_verdict(path, Verdict.UNSAFE, "a FIFO, socket or device")
        expected = self.expected.get(path)
        if expected is None:
            return self._unlisted(path, path, stat, "")
        return self._listed(path, stat, expected)

    def _link(self, path: str) -> FileVerdict | Work:
        written = self.host.files.read_link(f"{self.folder}/{path}")
        target = normpath(join(dirname(path), written))
        shown = f"a link to {printable(written)!r}"
        if written.startswith("/") or target == ".." or target.startswith("../"):
            return make_verdict(path, Verdict.UNSAFE, f"{shown}, out of the folder")
        if path in self.expected or self.list_name is not None:
            return make_verdict(path, Verdict.UNEXPECTED, f"{shown}, where the list has no link")
        stat = self.found.get(target)
        if stat is None or stat.kind != "file":
            return make_verdict(
                path, Verdict.UNEXPECTED, f"{shown}, which is no file of the folder"
            )
        return self._unlisted(path, target, stat, f"{shown}: ")

    # -- files that a list names ----------------------------------------------------------------

    def _listed(self, path: str, stat: Stat, expected: Expected) -> FileVerdict | Work:
        if stat.size != expected.size:
            return self._wrong_size(path, stat, expected)
        stamp = self.stamps.get(path)
        if expected.blake3 is not None and stamp is not None and stamp == as_stamp(stat):
            self.meter.add(stat.size)
            how = "not touched since it was hashed (size, inode, mtime, ctime)"
            return _matches(path, expected, how)
        pieces = expected.pieces(path)
        return Work(path, pieces, lambda digests: self._compared(path, pieces, digests, expected))

    def _compared(
        self, path: str, pieces: Sequence[Piece], digests: Sequence[str], expected: Expected
    ) -> FileVerdict:
        wanted = expected.segments if len(pieces) > 1 else (str(expected.digest),)
        bad = [place for place, digest in enumerate(digests) if digest != wanted[place]]
        if not bad and not expected.inspected:
            return _matches(path, expected, f"{expected.proof} matches {expected.source}")
        finding = self.inspector.look(path, expected.size)
        refused = finding.refusal.verdict if finding.refusal is not None else None
        if not bad:
            how = f"{expected.proof} matches {expected.source}"
            counts = refused is Verdict.UNSAFE or expected.trust is Trust.UNPROVEN
            if refused is not None and counts:
                return make_verdict(path, refused, f"{finding.text}; {how}", expected.trust)
            return _matches(path, expected, how)
        if refused is Verdict.PLACEHOLDER:
            return make_verdict(path, Verdict.PLACEHOLDER, finding.text)
        want, got = wanted[bad[0]], digests[bad[0]]
        if len(pieces) > 1:
            place, count = pieces[bad[0]].place, f"; {differ(len(bad), len(pieces))}"
            evidence = f"{expected.proof} of {place} is {got}, {expected.source} says {want}{count}"
        else:
            place, damage = self._damaged(path, expected)
            evidence = f"{expected.proof} is {got}, {expected.source} says {want}{damage}"
        compared = (
            f"{expected.proof} {want}",
            f"{expected.proof} {got}",
            f"{expected.source}, {place}" if place else expected.source,
        )
        return make_verdict(path, Verdict.CORRUPT, evidence, compared=compared)

    def _wrong_size(self, path: str, stat: Stat, expected: Expected) -> FileVerdict:
        self.meter.add(stat.size)
        finding = self.inspector.look(path, stat.size)
        states = f"{stat.size} bytes, {expected.source} says {expected.size}"
        compared = (f"{expected.size} bytes", f"{stat.size} bytes", expected.source)
        refused = finding.refusal.verdict if finding.refusal is not None else None
        if (refused is Verdict.PLACEHOLDER and stat.size) or refused is Verdict.UNSAFE:
            evidence = f"{finding.text}; {states}"
            return make_verdict(path, refused, evidence, compared=compared)
        shorter = Verdict.TRUNCATED if stat.size < expected.size else Verdict.CORRUPT
        return make_verdict(path, shorter, states, compared=compared)

    def _damaged(self, path: str, expected: Expected) -> tuple[str, str]:
        """Hash a damaged file's segments, where they are known: the first bad one, and a count."""
        if expected.proof == "blake3" or not expected.in_segments:
            return "", ""
        bad = []
        pieces = expected.cuts(path)
        with self.host.files.open_read(f"{self.folder}/{path}", follow=False) as stream:
            for piece, want in zip(pieces, expected.segments, strict=True):
                got = hash_piece(stream, piece.begin, piece.length, "blake3", self.meter.check)
                bad += [piece] if got != want else []
        if not bad:
            return "", f"; no segment differs from {manifests.NAME}"
        return bad[0].place, f"; {differ(len(bad), len(pieces))}, the first {bad[0].place}"

    # -- files that no list names ---------------------------------------------------------------

    def _unlisted(self, path: str, real: str, stat: Stat, before: str) -> FileVerdict | Work:
        """Judge ``path``, whose content is that of ``real``; ``before`` begins the evidence."""
        finding = self.inspector.look(real, stat.size, named=path)
        refusal = finding.refusal
        if refusal is not None and refusal.verdict in _SETTLED:
            self.meter.add(stat.size)
            return make_verdict(path, refusal.verdict, before + finding.text)
        if self.list_name is not None:
            self.meter.add(stat.size)
            evidence = f"{before}{self.list_name} does not list it ({finding.text})"
            return make_verdict(path, Verdict.UNEXPECTED, evidence)
        if refusal is not None:
            otherwise = make_verdict(path, refusal.verdict, before + finding.text)
        else:
            evidence = f"{before}{finding.text}; nothing proves its content"
            otherwise = make_verdict(path, Verdict.UNPROVEN, evidence, Trust.UNPROVEN)
        pins = {pin.sha256: pin for pin in self.known if pin.size == stat.size}
        if not pins:
            self.meter.add(stat.size)
            return otherwise

        def conclude(digests: Sequence[str]) -> FileVerdict:
            pin = pins.get(digests[0])
            if pin is None:
                return otherwise
            evidence = f"{before}sha256 matches {basename(pin.path)} of the catalog"
            return make_verdict(path, Verdict.REAL, evidence, Trust.PINNED)

        return Work(path, (Piece(real, 0, stat.size, "sha256"),), conclude)


def differ(bad: int, of: int) -> str:
    """Say how many segments differ."""
    return f"{bad} of {of} segments differ{'s' if bad == 1 else ''}"


def _matches(path: str, expected: Expected, how: str) -> FileVerdict:
    if expected.trust is Trust.UNPROVEN:
        how += "; its origin is not proven"
        return make_verdict(path, Verdict.UNPROVEN, how, expected.trust)
    return make_verdict(path, Verdict.REAL, how, expected.trust)


def _unreadable(path: str, error: OSError) -> FileVerdict:
    if isinstance(error, PermissionError):
        return make_verdict(path, Verdict.UNPROVEN, "can't be read: permission denied")
    if isinstance(error, FileNotFoundError):
        return make_verdict(path, Verdict.MISSING, "was removed while the folder was verified")
    if error.errno in {errno.ELOOP, errno.EINVAL}:
        return make_verdict(path, Verdict.UNSAFE, "was replaced while the folder was verified")
    return make_verdict(path, Verdict.CORRUPT, f"can't be read: {error.strerror or error}")

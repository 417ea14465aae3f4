"""What a folder's files must be, by its manifest and by the catalog's pins."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from local_opus.values import CatalogFile, Trust
from local_opus.weights import manifest as manifests
from local_opus.weights.digest import How
from local_opus.weights.pieces import Piece


@dataclass(frozen=True)
class Expected:
    """One file as a list states it; ``source`` names the list in evidence.

    ``proof`` is the digest that proves the content: whoever states it is believed. ``segments``
    are the blake3 digests of the file's cuts of ``segment_size`` bytes, where they are known.
    ``blake3`` is None where no manifest knows the file: then its stamps say nothing. ``inspected``:
    a stranger states it, so what would run code is refused though it is as stated; and so is what
    is no sound file, where the stranger is nobody that is trusted (``unproven``).
    """

    size: int
    proof: How
    sha256: str | None
    blake3: str | None
    trust: Trust
    source: str
    git_sha1: str | None = None
    segments: tuple[str, ...] = ()
    segment_size: int = 1
    inspected: bool = False

    @property
    def digest(self) -> str | None:
        """The digest that ``proof`` names."""
        return {"sha256": self.sha256, "blake3": self.blake3, "git_sha1": self.git_sha1}[self.proof]

    @property
    def in_segments(self) -> bool:
        """Whether the segments cover the file, so that they say as much as ``blake3``."""
        return bool(self.segments) and len(self.segments) == -(-self.size // self.segment_size)

    def pieces(self, path: str) -> tuple[Piece, ...]:
        """Return what of ``path`` is hashed to prove it."""
        if self.proof == "blake3" and self.in_segments:
            return self.cuts(path)
        return (Piece(path, 0, self.size, self.proof),)

    def cuts(self, path: str) -> tuple[Piece, ...]:
        """Return the segments of ``path``."""
        return tuple(
            Piece(path, begin, min(self.segment_size, self.size - begin), "blake3")
            for begin in range(0, self.size, self.segment_size)
        )


def expected_files(
    manifest: manifests.Manifest | None,
    pins: Sequence[CatalogFile],
    *,
    pins_trust: Trust = Trust.PINNED,
    attested: bool = False,
    refuted: bool = False,
) -> Mapping[str, Expected]:
    """Return what each path must be.

    The catalog is part of the program, the manifest lies beside the weights where whoever changed
    them could change it too. So a pin outranks the manifest: where both name a file and the
    manifest states another size or sha256, the catalog's are what counts, and the content is
    hashed by sha256. Only a manifest that is ``attested`` (the receipt holds its digest) tells
    which blake3 belongs to that sha256, and the faster digest does. One that is ``refuted`` (the
    receipt holds another) proves nothing: what it lists is ``unproven`` at best. ``pins_trust``
    says who stated the pins: this program, or the hub when a user pinned a model of it.
    """
    expected: dict[str, Expected] = {}
    for file in manifest.files if manifest is not None else ():
        expected[file.path] = Expected(
            size=file.size,
            proof="blake3",
            sha256=file.sha256,
            blake3=file.blake3,
            segments=file.segments,
            segment_size=manifest.segment_size if manifest is not None else 1,
            trust=Trust.UNPROVEN if refuted else file.trust,
            source=f"{manifests.NAME} (not the receipt's)" if refuted else manifests.NAME,
        )
    for pin in pins:
        expected[pin.path] = _pinned(pin, expected.get(pin.path), pins_trust, attested=attested)
    return expected


def claimed_files(
    manifest: manifests.Manifest, known: Iterable[CatalogFile]
) -> Mapping[str, Expected]:
    """Return what each path must be by a manifest that anyone may have written.

    It tells whether the folder is as it was when that was written, and not whether it ever was a
    model: what it lists is ``unproven`` at best, and looked at. A file that it calls one of the
    ``known`` pins is compared with that pin.
    """
    pins = {(pin.size, pin.sha256) for pin in known}
    return {file.path: _claimed(file, manifest.segment_size, pins) for file in manifest.files}


def _claimed(
    file: manifests.ManifestFile, segment_size: int, pins: Container[tuple[int, str]]
) -> Expected:
    if (file.size, file.sha256) in pins:
        return Expected(
            size=file.size,
            proof="sha256",
            sha256=file.sha256,
            blake3=None,
            trust=Trust.PINNED,
            source="the catalog",
        )
    return Expected(
        size=file.size,
        proof="blake3",
        sha256=file.sha256,
        blake3=file.blake3,
        segments=file.segments,
        segment_size=segment_size,
        trust=Trust.UNPROVEN,
        source=manifests.NAME,
        inspected=True,
    )


def _pinned(pin: CatalogFile, listed: Expected | None, trust: Trust, *, attested: bool) -> Expected:
    agrees = listed is not None and (listed.size, listed.sha256) == (pin.size, pin.sha256)
    if listed is None or not agrees:
        return Expected(
            size=pin.size,
            proof="sha256",
            sha256=pin.sha256,
            blake3=None,
            trust=trust,
            source="the catalog",
        )
    return Expected(
        size=pin.size,
        proof="blake3" if attested else "sha256",
        sha256=pin.sha256,
        blake3=listed.blake3,
        segments=listed.segments,
        segment_size=listed.segment_size,
        # A user's catalog may have it from the hub. The manifest may say so too, and no more.
        trust=Trust.HUB if listed.trust is Trust.HUB else trust,
        source=f"{manifests.NAME}, which has the catalog's sha256" if attested else "the catalog",
    )

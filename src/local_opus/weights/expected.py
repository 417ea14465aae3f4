"""What a folder's files must be, by its manifest and by the catalog's pins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from local_opus.values import CatalogFile, Trust
from local_opus.weights import manifest as manifests


@dataclass(frozen=True)
class Expected:
    """One file as a list states it; ``source`` names the list in evidence.

    ``blake3`` is None where only the catalog knows the file. ``by_sha256``: the content is proven
    by sha256, as the catalog pins it; else by blake3, which every core computes.
    """

    size: int
    sha256: str
    blake3: str | None
    by_sha256: bool
    segments: tuple[str, ...]
    segment_size: int
    trust: Trust
    source: str


def expected_files(
    manifest: manifests.Manifest | None, pins: Sequence[CatalogFile]
) -> Mapping[str, Expected]:
    """Return what each path must be.

    The catalog is part of the program, the manifest lies beside the weights where whoever changed
    them could change it too. So a pin outranks the manifest: where both name a file and the
    manifest states another size or sha256, the catalog's are what counts.
    """
    expected: dict[str, Expected] = {}
    for file in manifest.files if manifest is not None else ():
        expected[file.path] = Expected(
            size=file.size,
            sha256=file.sha256,
            blake3=file.blake3,
            by_sha256=False,
            segments=file.segments,
            segment_size=manifest.segment_size if manifest is not None else 1,
            trust=file.trust,
            source=manifests.NAME,
        )
    for pin in pins:
        listed = expected.get(pin.path)
        agrees = listed is not None and (listed.size, listed.sha256) == (pin.size, pin.sha256)
        known = listed if agrees else None
        expected[pin.path] = Expected(
            size=pin.size,
            sha256=pin.sha256,
            blake3=known.blake3 if known is not None else None,
            by_sha256=True,
            segments=known.segments if known is not None else (),
            segment_size=known.segment_size if known is not None else 1,
            trust=Trust.PINNED,
            source="the catalog",
        )
    return expected

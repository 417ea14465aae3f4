"""Flip one bit somewhere in a model folder, verify, put it back; again and again.

Usage: python bench/bit_flips.py [--flips N] [--seed S] [--in FOLDER]

The folder is the real SmolLM2 as it is served: the IR made from its GGUF, its manifest and its
stamps, copied below --in (/dev/shm). Every second bit is chosen among all bits of the folder, the
others first by file, so that small files get their share. A flip counts as found when the verdict
on that very file is not `real`. Afterwards the folder must be real again, or a flip was not put
back. Ends with 1 where one was not found.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from verify_speed import listed

from local_opus.host import Host
from local_opus.values import FileVerdict
from local_opus.weights import manifest as manifests
from local_opus.weights.verify import examine, is_proven


def verdicts(folder: Path, manifest_sha256: str) -> tuple[FileVerdict, ...]:
    """Verify as `local-opus verify` does a folder whose manifest's digest is in the receipt."""
    return examine(Host(), str(folder), manifest_sha256=manifest_sha256, stamps_too=True).verdicts


def choose(source: random.Random, files: Sequence[Path], *, by_file: bool) -> tuple[Path, int]:
    """Return a file and one of its bits."""
    sizes = [path.stat().st_size for path in files]
    (path,) = source.choices(files, None if by_file else sizes)
    return path, source.randrange(path.stat().st_size * 8)


def flip(path: Path, bit: int) -> None:
    """Turn one bit of a file around, in place."""
    with path.open("r+b") as stream:
        stream.seek(bit // 8)
        byte = stream.read(1)[0]
        stream.seek(bit // 8)
        stream.write(bytes([byte ^ 1 << bit % 8]))


def campaign(
    folder: Path, flips: int, seed: int, *, tell: bool = False
) -> tuple[Counter[str], list[str]]:
    """Flip and verify; return the flips by file and verdict, and those that were not found."""
    digest = manifests.digest((folder / manifests.NAME).read_bytes())
    if not is_proven(verdicts(folder, digest)):
        raise SystemExit(f"{folder}: not real before anything was flipped")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    source = random.Random(seed)
    said: Counter[str] = Counter()
    missed = []
    begin = time.perf_counter()
    for number in range(1, flips + 1):
        path, bit = choose(source, files, by_file=number % 2 == 0)
        name = str(path.relative_to(folder))
        flip(path, bit)
        found = {item.path: item.verdict.value for item in verdicts(folder, digest)}
        flip(path, bit)
        verdict = found.get(name, "no verdict")
        said[f"{name}: {verdict}"] += 1
        if verdict in {"real", "no verdict"}:
            missed.append(f"{name}, bit {bit}: {verdict}")
        if tell and number % 500 == 0:
            seconds = time.perf_counter() - begin
            print(f"  {number} flips, {number - len(missed)} found, {seconds:.0f} s", flush=True)
    if not is_proven(verdicts(folder, digest)):
        raise SystemExit(f"{folder}: not real after every bit was put back")
    return said, missed


def main() -> int:
    """Run the campaign; return 1 where a flip was not found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in", dest="below", default="/dev/shm")
    given = parser.parse_args()
    from models import smollm2  # noqa: PLC0415 - of the tests

    with tempfile.TemporaryDirectory(dir=given.below, prefix="bit-flips-") as below:
        folder = Path(shutil.copytree(smollm2()[1], Path(below) / "ir"))
        listed(folder)
        size = sum(path.stat().st_size for path in folder.iterdir())
        print(f"{size / 1e6:.1f} MB in {len(list(folder.iterdir()))} files, seed {given.seed}")
        said, missed = campaign(folder, given.flips, given.seed, tell=True)
    for words, count in sorted(said.items()):
        print(f"  {count:6} {words}")
    for words in missed:
        print(f"  NOT FOUND: {words}")
    print(f"{given.flips - len(missed)} of {given.flips} single-bit flips found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

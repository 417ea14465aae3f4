"""How fast weights are verified anew, beside coreutils' sha256sum and blake3 itself.

Usage: python bench/verify_speed.py [--rounds N] [--gigabytes G] [--in FOLDER] [FOLDER...]

Without FOLDER: the real SmolLM2 (its GGUF and the IR made from it) and G GB (4) in 8 files of
random bytes, both with a manifest, copied or made in a folder below --in (/dev/shm). A FOLDER is
one with a weights.json. All files are read once before, so that each finds them in the page cache.

In every round, one after the other: `sha256sum` over the files; blake3's own rate on all cores
(`blake3(max_threads=AUTO)` over each file, mapped and read: the faster one counts); and
`verify_folder`, as `local-opus verify` calls it. Then the peak memory of the whole command.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from blake3 import blake3

from local_opus.host import Host
from local_opus.values import Trust
from local_opus.weights import manifest as manifests
from local_opus.weights.digest import SEGMENT_SIZE, hash_stream
from local_opus.weights.verify import verify_folder, worst

CHECKOUT = Path(__file__).resolve().parent.parent
FILES = 8
#: Files that are named in a printed command.
NAMED = 3
READ = 8 * 1024 * 1024
#: What verification has to reach: times sha256sum's rate, and of blake3's own.
OF_SHA256SUM, OF_BLAKE3 = 8.0, 0.9


def listed(folder: Path) -> Path:
    """Write a manifest of what lies in ``folder``."""
    entries = []
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            size = path.stat().st_size
            digests = hash_stream(stream, limit=size, segment_size=SEGMENT_SIZE)
        entries.append(
            manifests.ManifestFile(
                path=path.name,
                size=size,
                sha256=str(digests.sha256),
                blake3=str(digests.blake3),
                segments=digests.segments if size > SEGMENT_SIZE else (),
                origin=manifests.WheelOrigin(requirement="bench==1", member=path.name),
                trust=Trust.PINNED,
            )
        )
    manifest = manifests.Manifest(
        model="bench", variant="bench", created_by="bench", files=tuple(entries)
    )
    manifests.write(Host(), str(folder), manifest)
    return folder


def smollm2_folders(below: Path) -> list[Path]:
    """Copy the real model there: its GGUF, and its IR."""
    from models import smollm2  # noqa: PLC0415 - of the tests

    gguf, ir = smollm2()
    source, served = below / "gguf", below / "ir"
    source.mkdir()
    shutil.copy(gguf, source)
    shutil.copytree(ir, served)
    return [listed(source), listed(served)]


def random_folder(below: Path, size: int) -> Path:
    """Make ``size`` random bytes in FILES files there."""
    folder = below / "random"
    folder.mkdir()
    for number in range(FILES):
        with (folder / f"{number}.bin").open("wb") as stream:
            for _ in range(size // FILES // 1_000_000):
                stream.write(os.urandom(1_000_000))
    return listed(folder)


def by_map(path: str) -> None:
    """Hash a file with blake3 on every core, mapped."""
    blake3(max_threads=blake3.AUTO).update_mmap(path).digest()


def by_read(path: str) -> None:
    """Hash a file with blake3 on every core, read into memory."""
    hasher, buffer = blake3(max_threads=blake3.AUTO), memoryview(bytearray(READ))
    with open(path, "rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            hasher.update(buffer[:count])
    hasher.digest()


def seconds(work: Callable[[], object]) -> float:
    """Return how long ``work`` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(name: str, folders: Sequence[Path], rounds: int) -> bool:
    """Print the figures of some folders; whether both limits are reached in the median."""
    host = Host()
    files = [f"{folder}/{path}" for folder in folders for path, _ in host.files.walk(str(folder))]
    size = sum(Path(path).stat().st_size for path in files)
    command = ["sha256sum", *files]
    subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True)

    def verify() -> None:
        for folder in folders:
            if (found := worst(verify_folder(host, str(folder)))) != "real":
                raise SystemExit(f"{folder}: {found}")

    programs: dict[str, Callable[[], object]] = {
        "sha256sum": lambda: subprocess.run(command, stdout=subprocess.PIPE, check=True),
        "blake3, mapped": lambda: [by_map(path) for path in files],
        "blake3, read": lambda: [by_read(path) for path in files],
        "verify": verify,
    }
    times: dict[str, list[float]] = {title: [] for title in programs}
    for _ in range(rounds):
        for title, program in programs.items():
            times[title].append(seconds(program))
    print(f"\n{name}: {len(files)} files, {size / 1e6:.1f} MB, {host.cores} cores, {rounds} rounds")
    print(f"  $ sha256sum {' '.join(files[:NAMED])}{' ...' if len(files) > NAMED else ''}")
    for title, took in times.items():
        print(f"  {title:15}{spread([size / one / 1e9 for one in took])} GB/s")
    own = [min(pair) for pair in zip(times["blake3, mapped"], times["blake3, read"], strict=True)]
    good = True
    for title, theirs, least in (
        ("sha256sum", times["sha256sum"], OF_SHA256SUM),
        ("blake3", own, OF_BLAKE3),
    ):
        ratios = [one / ours for one, ours in zip(theirs, times["verify"], strict=True)]
        reached = statistics.median(ratios) >= least
        good = good and reached
        word = "reached" if reached else "MISSED"
        print(f"  verify / {title:10}{spread(ratios)}   at least {least}: {word}")
    return good


def spread(values: Sequence[float]) -> str:
    """Return least, median and most."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{low:8.2f} {middle:8.2f} {high:8.2f}"


def peak(folder: Path) -> None:
    """Print how much memory the whole command takes."""
    code = (
        # 3: outside of the store a manifest of its own proves nothing.
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:], stdout=-3);"
        "assert done.returncode in (0, 3), done;"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)"
    )
    command = [sys.executable, "-m", "local_opus", "verify", str(folder), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "src")}
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    print(f"\n`local-opus verify {folder}`: {done.stdout.strip()} MiB of memory at most")


def main() -> int:
    """Run the bench; return 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--in", dest="below", default="/dev/shm")
    given = parser.parse_args()
    if given.folders:
        results = [measure(str(one), [one.resolve()], given.rounds) for one in given.folders]
        return 0 if all(results) else 1
    with tempfile.TemporaryDirectory(dir=given.below, prefix="verify-speed-") as below:
        print("GB/s and ratios: least, median, most of the rounds")
        good = measure("SmolLM2, GGUF and IR", smollm2_folders(Path(below)), given.rounds)
        large = random_folder(Path(below), int(given.gigabytes * 1e9))
        good = measure("random", [large], given.rounds) and good
        peak(large)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

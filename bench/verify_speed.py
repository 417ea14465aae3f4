"""How fast a variant is verified, beside coreutils' sha256sum on the same files in the same run.

Usage: python bench/verify_speed.py FOLDER...   (folders with a weights.json)
The files are read once before, so that all three find them in the page cache.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from local_opus.host import Host
from local_opus.weights.verify import verify_folder, worst

RUNS = 5


def best(work: Callable[[], object]) -> float:
    """Return the shortest of RUNS runs, in seconds."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(folder: str) -> None:
    """Print one folder's figures."""
    host = Host()
    files = [f"{folder}/{path}" for path, _ in host.files.walk(folder)]
    size = sum(Path(path).stat().st_size for path in files)
    subprocess.run(["cat", *files], stdout=subprocess.DEVNULL, check=True)
    sums = best(lambda: subprocess.run(["sha256sum", *files], stdout=subprocess.PIPE, check=True))
    full = best(lambda: verify_folder(host, folder))
    quick = best(lambda: verify_folder(host, folder, quick=True))
    verdict = worst(verify_folder(host, folder))
    print(f"{folder}: {verdict}, {len(files)} files, {size / 1e6:.1f} MB, best of {RUNS}")
    for name, seconds in (("sha256sum", sums), ("verify", full), ("verify --quick", quick)):
        print(f"  {name:15} {seconds * 1000:9.2f} ms  {size / seconds / 1e9:8.2f} GB/s")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        raise SystemExit(__doc__)
    for name in sys.argv[1:]:
        measure(str(Path(name).resolve()))

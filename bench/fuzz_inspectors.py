#!/usr/bin/env python3
"""Fuzz the inspectors of weights for minutes, and keep what leads them somewhere new.

Usage: fuzz_inspectors.py [--minutes N] [--jobs N] [--keep N] [--into DIR] [FORMAT ...]

The formats are the targets of tests/fuzz/targets.py; without one, all. With atheris the fuzzing is
led by coverage; without it, sound files are changed at random. For atheris, an environment of its
own:

    python3 -m venv /tmp/fuzz
    /tmp/fuzz/bin/pip install --require-hashes -r requirements.lock
    /tmp/fuzz/bin/pip install atheris==3.0.0
    nice -n 19 /tmp/fuzz/bin/python bench/fuzz_inspectors.py --minutes 10

--bombs measures what files cost that are as large as a check reads them, see tests/fuzz/bombs.py;
with ONLY_WITHIN=1 in the environment only those that are not known to cost too much.

An input fails when it raises anything, when an answer breaks a promise of tests/fuzz/targets.py,
when it takes 2 s, or when it takes 200 MB. Each is written to tests/data/fuzz/FORMAT/found-*, made
as small as it stays wrong in the same place, for the tests to replay; then the exit code is 1.
Besides, up to --keep inputs a format that reach new code are added as new-*.
"""

# ruff: noqa: PLC0415 - the inspectors are imported after atheris has said that it will look

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType

CHECKOUT = Path(__file__).resolve().parent.parent
CORPUS = CHECKOUT / "tests" / "data" / "fuzz"
for folder in ("src", "tests", "tests/fuzz"):
    sys.path.insert(0, str(CHECKOUT / folder))

#: Seconds and bytes that an input may take, and bytes that the program takes by itself at most.
SECONDS = 2
MEMORY_MB = 200
OWN_MB = 300
#: Bytes of an input at most: the code reads heads, and what is longer is for tests by hand.
LONGEST = 6144
#: How libFuzzer tells how many inputs it has tried, at its end and on the way.
_COUNT = re.compile(r"(?:number_of_executed_units: |#)(\d+)\b")
_FAILED = ("raw-", "timeout-", "oom-", "crash-")
#: Tries to make a failing input smaller.
TRIES = 4000


def names() -> list[str]:
    """Return the targets, imported only now: atheris must see each import of theirs."""
    import targets

    return list(targets.TARGETS)


def place_of(error: BaseException) -> str:
    """Return what tells one failure from another: its kind and the line of ours it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "local_opus" in frame.filename] or frames
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"


def failure(name: str, data: bytes) -> str | None:
    """Return where an input goes wrong, None where it does not."""
    import targets

    begin, most = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        targets.run(name, data)
    except Exception as error:  # noqa: BLE001 - each is a finding
        return place_of(error)
    if time.process_time() - begin > SECONDS:
        return "time"
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - most  # KiB
    return "memory" if grown > MEMORY_MB * 1024 else None


def smaller(name: str, data: bytes, place: str) -> bytes:
    """Return the input without what it does not need to go wrong in the same place."""
    size, tries = len(data) // 2, 0
    while size and tries < TRIES:
        at = 0
        while at < len(data) and tries < TRIES:
            shorter = data[:at] + data[at + size :]
            tries += 1
            if failure(name, shorter) == place:
                data = shorter
            else:
                at += size
        size //= 2
    return data


class Recorder:
    """Keeps one input for each place where something went wrong."""

    def __init__(self, name: str, out: Path) -> None:
        self.name = name
        self.out = out
        self.places: set[str] = set()
        self.executions = 0

    def one(self, data: bytes) -> None:
        """Try one input."""
        self.executions += 1
        place = failure(self.name, data)
        if place is None or place in self.places or place == "time":  # libFuzzer keeps those
            return
        self.places.add(place)
        self.keep(data, place)

    def keep(self, data: bytes, place: str) -> None:
        """Write an input and its trace."""
        digest = hashlib.sha256(data).hexdigest()[:12]
        (self.out / f"raw-{digest}").write_bytes(data)
        (self.out / f"raw-{digest}.txt").write_text(f"{place}\n")


def child(name: str, corpus: Path, out: Path, seconds: float) -> None:
    """Fuzz one format in this process until the time is over, or an input takes too much."""
    try:
        import atheris
    except ModuleNotFoundError:
        at_random(name, corpus, out, seconds)
        return
    with atheris.instrument_imports(include=["local_opus"]):
        import targets

        import local_opus.weights.inspect  # noqa: F401
    recorder = Recorder(name, out)
    words = out / "words"
    escaped = ["".join(f"\\x{byte:02x}" for byte in word) for word in targets.TARGETS[name].words]
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    options = [
        f"-max_total_time={int(seconds)}", f"-timeout={SECONDS}", f"-max_len={LONGEST}",
        f"-rss_limit_mb={OWN_MB + MEMORY_MB}", f"-artifact_prefix={out}/", f"-dict={words}",
        "-print_final_stats=1", "-len_control=20", "-use_value_profile=1",
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], recorder.one)
    atheris.Fuzz()


def at_random(name: str, corpus: Path, out: Path, seconds: float) -> None:
    """Change files of the corpus at random, each input under its own time limit."""
    import mutations

    recorder, chance = Recorder(name, out), random.Random(name)
    known = [path.read_bytes() for path in sorted(corpus.iterdir())]
    limit = (OWN_MB + MEMORY_MB) << 20
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        recorder.one(mutations.at_random(chance, known, name)[:LONGEST])
    print(f"stat::number_of_executed_units: {recorder.executions}", file=sys.stderr)


def fuzz(name: str, work: Path, minutes: float) -> dict[str, object]:
    """Fuzz one format in children, started anew after each that ended early; return figures."""
    corpus, out = work / name / "corpus", work / name / "out"
    for folder in (corpus, out):
        folder.mkdir(parents=True)
    import targets

    for number, data in enumerate(targets.TARGETS[name].seeds):
        (corpus / f"seed-{number}").write_bytes(data)
    for path in (CORPUS / name).glob("*") if (CORPUS / name).is_dir() else ():
        shutil.copy(path, corpus)
    executions, begin, end = 0, time.monotonic(), time.monotonic() + minutes * 60
    runs = 0
    while (left := end - time.monotonic()) > 1:
        command = [sys.executable, __file__, "--child", name, str(corpus), str(out), str(left)]
        log = out / f"log-{runs}"
        with log.open("wb") as stream:
            subprocess.run(command, stderr=stream, stdout=stream, check=False)
        runs += 1
        executions += max(map(int, _COUNT.findall(log.read_text(errors="replace"))), default=0)
    seconds = time.monotonic() - begin
    found = report(name, out)
    return {
        "format": name, "minutes": round(seconds / 60, 1), "executions": executions, "runs": runs,
        "failures": found, "inputs": len(list(corpus.iterdir())),
    }  # fmt: skip


def report(name: str, out: Path) -> list[str]:
    """Make what failed small, put it into the corpus of the tests, and return a line for each."""
    target = CORPUS / name
    target.mkdir(parents=True, exist_ok=True)
    lines = {}
    for path in sorted(out.iterdir()):
        if not path.name.startswith(_FAILED) or path.suffix == ".txt":
            continue
        data = path.read_bytes()
        told = path.with_suffix(".txt")
        place = told.read_text().strip() if told.exists() else path.name.partition("-")[0]
        if place in lines.values():
            continue
        if told.exists():
            data = smaller(name, data, place)
        kept = target / f"found-{hashlib.sha256(data).hexdigest()[:12]}"
        kept.write_bytes(data)
        lines[kept.name] = place
    return [f"{kept}: {place}" for kept, place in lines.items()]


def reached(name: str, data: bytes) -> set[tuple[str, int, int]]:
    """Return the steps from line to line that an input takes through the inspectors."""
    steps: set[tuple[str, int, int]] = set()

    def enter(frame: FrameType, _event: str, _value: object) -> object:
        where = frame.f_code.co_filename
        if "local_opus/weights" not in where:
            return None
        last = [0]

        def step(inner: FrameType, _event: str, _value: object) -> object:
            steps.add((where, last[0], inner.f_lineno))
            last[0] = inner.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        failure(name, data)
    finally:
        sys.settrace(None)
    return steps


def keep_new(name: str, grown: Path, keep: int) -> int:
    """Add the smallest inputs that reach new code to the corpus of the tests; return how many."""
    import targets

    target = CORPUS / name
    known = [*targets.TARGETS[name].seeds, *(path.read_bytes() for path in target.glob("*"))]
    seen = set().union(*(reached(name, data) for data in known))
    added = 0
    for data in sorted(
        {path.read_bytes() for path in grown.iterdir()}, key=lambda one: (len(one), one)
    ):
        steps = reached(name, data) - seen if added < keep else set()
        if steps:
            seen |= steps
            added += 1
            (target / f"new-{hashlib.sha256(data).hexdigest()[:12]}").write_bytes(data)
    return added


def bombs() -> int:
    """Print what each bomb takes; return 1 where one takes more than it should and is not known to.

    Each is measured in a process of its own.
    """
    import bombs as held

    worse = 0
    for name, known in ((name, held.OVER.get(name)) for name in held.BOMBS):
        if known is not None and os.environ.get("ONLY_WITHIN"):
            continue
        source, sink = os.pipe()
        if os.fork() == 0:
            os.write(sink, json.dumps(held.measure(name)).encode())
            os._exit(0)
        os.close(sink)
        with os.fdopen(source, "rb") as stream:
            seconds, taken = json.loads(stream.read())
        os.wait()
        over = seconds > SECONDS or taken > MEMORY_MB << 20
        worse += over and known is None
        told = f"{name:<42} {seconds:7.2f} s {taken >> 20:6d} MiB"
        print(f"{told}{'  OVER' if over and known is None else ''}", flush=True)
    return 1 if worse else 0


def main() -> int:
    """Fuzz, tell figures, and return 1 where something was found."""
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]), float(sys.argv[5]))
        return 0
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("formats", nargs="*", metavar="FORMAT")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--keep", type=int, default=20)
    parser.add_argument("--bombs", action="store_true", help="measure tests/fuzz/bombs.py instead")
    given = parser.parse_args()
    known = names()
    if given.bombs:
        return bombs()
    if strange := set(given.formats) - set(known):
        parser.error(f"no such format: {', '.join(sorted(strange))}; there are {', '.join(known)}")
    try:
        import atheris  # noqa: F401

        engine = "atheris"
    except ModuleNotFoundError:
        engine = "changes at random"
    print(f"engine: {engine}; {given.minutes:g} minutes each", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(given.jobs) as pool:
        work = Path(place)
        chosen = given.formats or known
        jobs = {name: pool.submit(fuzz, name, work, given.minutes) for name in chosen}
        for name, job in jobs.items():
            found = job.result()
            found["new"] = keep_new(name, work / name / "corpus", given.keep)
            failed += len(found["failures"])  # type: ignore[arg-type]
            print(json.dumps(found), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.exit(main())

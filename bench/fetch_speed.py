"""Times fetching and proving a model from a hub on loopback, beside what ``hf download`` does.

Usage: python bench/fetch_speed.py [--size MIB] [--files N] [--rounds N] [--folder DIR] [--only abc]

Each round runs, each into an empty folder and each until ``sync`` has returned:
  (a) hf download                          the peer; it compares sizes
  (b) hf download, then hf cache verify    the peer's way to know the content
  (c) ours: fetch_model in a fresh process; content, structure and manifest are part of it
The hub runs in a process of its own and sends from the page cache. All have their modules' compiled
code at hand: each is run once before, with a small repository. After each run, outside of the time,
every file is compared with what was served. ``others`` is the processor time that was used by
neither the commands nor the hub, kernel and neighbours together: a run with much of it is no use.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from served_files import MEBIBYTE, ServedFile, served_files

from hub import Content, HubProcess

CHECKOUT = Path(__file__).resolve().parent.parent
REPO, SMALL = "some/repo", "some/small"
NAMES = {"a": "hf download", "b": "hf download + verify", "c": "ours"}
HF = str(Path(sys.executable).with_name("hf"))


@dataclass(frozen=True)
class Run:
    """What one run took: seconds, seconds of processor time, and the largest resident set."""

    wall: float
    cpu: float
    rss: int
    hub_cpu: float
    other_cpu: float


def main() -> None:
    """Make the files, run the rounds, print the table."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="fetch-speed-") as scratch:
        cache = Path(options.folder or scratch) / f"served-{options.files}x{options.size}MiB"
        print(f"making {options.files} files of {options.size} MiB below {cache}", flush=True)
        files = served_files(cache, options.files, options.size * MEBIBYTE)
        small = served_files(Path(scratch) / "small", 1, MEBIBYTE)
        with HubProcess({REPO: _contents(files), SMALL: _contents(small)}) as hub:
            bench = Bench(hub, Path(scratch), {REPO: files, SMALL: small})
            _print_setting(options, bench)
            for what in options.only:
                bench.run(what, SMALL)
            rounds = [_round(bench, options.only, number) for number in range(options.rounds)]
    _print_ratios(rounds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="MiB of a file (512)")
    parser.add_argument("--files", type=int, default=8, help="how many (8)")
    parser.add_argument("--rounds", type=int, default=3, help="how many (3)")
    parser.add_argument("--folder", help="where all is written; served files are kept there")
    parser.add_argument("--only", default="abc", help="which of a, b, c to run (abc)")
    options = parser.parse_args()
    if options.folder:
        options.folder = str(Path(options.folder).resolve())
        Path(options.folder).mkdir(parents=True, exist_ok=True)
    if not options.only or set(options.only) - set(NAMES):
        parser.error("--only takes letters of abc")
    return options


def _contents(files: tuple[ServedFile, ...]) -> dict[str, Content]:
    return {file.name: Content(file.path, sha256=file.sha256) for file in files}


class Bench:
    """Runs a way of fetching once, and measures it."""

    def __init__(
        self, hub: HubProcess, scratch: Path, repos: dict[str, tuple[ServedFile, ...]]
    ) -> None:
        self._hub = hub
        self._repos = repos
        self._scratch = scratch
        self._target = scratch / "models"
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        #: What the commands are told. HF_HOME is new each time: nothing lies in a cache.
        self.settings = {
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": "1",
            # Ours goes to http and to private addresses only where that is allowed.
            "LOCAL_OPUS_TRUSTED_HOSTS": "localhost",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HOME": str(scratch / "hf-home"),
        }
        self._environment = {
            **kept,
            **self.settings,
            "HOME": str(scratch),
            "NO_PROXY": "*",
            "PYTHONPYCACHEPREFIX": str(scratch / "compiled"),
        }

    def size(self, repo: str) -> int:
        """Return the bytes of a repository's files."""
        return sum(file.size for file in self._repos[repo])

    def commands(self, what: str, repo: str) -> list[list[str]]:
        """Return the commands of a way of fetching."""
        target = str(self._target)
        download = [HF, "download", repo, "--local-dir", target]
        if what == "a":
            return [download]
        if what == "b":
            return [download, [HF, "cache", "verify", repo, "--local-dir", target]]
        files = [(file.name, file.size, file.sha256) for file in self._repos[repo]]
        asked = json.dumps({"repo": repo, "revision": self._hub.heads[repo], "files": files})
        (self._scratch / "asked.json").write_text(asked)
        ours = str(CHECKOUT / "bench" / "fetch_ours.py")
        return [[sys.executable, ours, target, str(self._scratch / "asked.json")]]

    def run(self, what: str, repo: str) -> Run:
        """Fetch once and return what it took. Raises RuntimeError where a command fails."""
        commands = self.commands(what, repo)
        for file in self._repos[repo]:
            subprocess.run(["cat", str(file.path)], stdout=subprocess.DEVNULL, check=True)
        self._hub.forget()
        os.sync()
        hub_before, all_before = self._hub_cpu(), _all_cpu()
        started = time.perf_counter()
        used = [self._command(command) for command in commands]
        subprocess.run(["sync"], check=True)
        wall = time.perf_counter() - started
        hub_cpu, all_cpu = self._hub_cpu() - hub_before, _all_cpu() - all_before
        self._check(repo)
        shutil.rmtree(self._target)
        shutil.rmtree(self._scratch / "hf-home", ignore_errors=True)
        cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
        rss = max(usage.ru_maxrss for usage in used) * 1024
        return Run(wall, cpu, rss, hub_cpu, max(0.0, all_cpu - cpu - hub_cpu))

    def _command(self, command: list[str]) -> resource.struct_rusage:
        log = self._scratch / "log"
        with log.open("wb") as stream:
            child = subprocess.Popen(  # its own wait would lose what it used
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=self._environment,
                cwd=self._scratch,
            )
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            said = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{command[:3]} ended with {child.returncode}:\n{said}")
        return usage

    def _check(self, repo: str) -> None:
        """Raise where a file is not what was served, or came from elsewhere than the hub."""
        sent = self._hub.sent()
        for file in self._repos[repo]:
            (copy,) = self._target.rglob(file.name)
            subprocess.run(["cmp", str(copy), str(file.path)], check=True)
            if sent[file.name] < file.size:
                raise RuntimeError(f"{file.name}: only {sent[file.name]} bytes were fetched")

    def _hub_cpu(self) -> float:
        fields = Path(f"/proc/{self._hub.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _all_cpu() -> float:
    """Return the seconds that all cores together have been busy since the start."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split()[1:9]]
    idle, waiting = fields[3:5]
    return (sum(fields) - idle - waiting) / os.sysconf("SC_CLK_TCK")


def _print_setting(options: argparse.Namespace, bench: Bench) -> None:
    total = options.files * options.size * MEBIBYTE
    print(f"{total / 1e9:.2f} GB in {options.files} files, {os.cpu_count()} cores, ", end="")
    print(f"Python {platform.python_version()}, Linux {platform.release()}")
    print("with " + " ".join(f"{name}={value}" for name, value in bench.settings.items()))
    for what in options.only:
        words = [" ".join(command) for command in bench.commands(what, REPO)]
        print(f"  ({what}) " + "; ".join([*words, "sync"]))
    print(
        f"\nround  {'what':22} {'wall s':>8} {'CPU s':>8} {'RSS MB':>8} {'hub CPU s':>10}"
        f" {'others s':>9} {'GB/s':>6}"
    )


def _round(bench: Bench, only: str, number: int) -> dict[str, Run]:
    # Who is first changes from round to round.
    order = only[number % len(only) :] + only[: number % len(only)]
    runs = {}
    for what in order:
        run = runs[what] = bench.run(what, REPO)
        size = bench.size(REPO)
        print(
            f"{number + 1:5}  {NAMES[what]:22} {run.wall:8.2f} {run.cpu:8.2f} {run.rss / 1e6:8.1f}"
            f" {run.hub_cpu:10.2f} {run.other_cpu:9.2f} {size / run.wall / 1e9:6.2f}",
            flush=True,
        )
    return runs


def _print_ratios(rounds: list[dict[str, Run]]) -> None:
    print(f"\n{'over all rounds':32} {'min':>8} {'median':>8} {'max':>8}")
    for what, name in NAMES.items():
        if what in rounds[0]:
            _print_spread(f"{name}, wall s", [one[what].wall for one in rounds])
    for other in "ab":
        if {"c", other} <= set(rounds[0]):
            ratios = [one["c"].wall / one[other].wall for one in rounds]
            _print_spread(f"ours / {NAMES[other]}", ratios)


def _print_spread(name: str, values: list[float]) -> None:
    print(f"{name:32} {min(values):8.2f} {statistics.median(values):8.2f} {max(values):8.2f}")


if __name__ == "__main__":
    main()

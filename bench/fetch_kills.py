"""Kills fetches with SIGKILL at random moments, and counts what each kill costs.

Usage: python bench/fetch_kills.py [--kills N] [--files N] [--size MIB] [--rate MBPS] [--seed N]
                                   [--folder DIR]

A hub on loopback, in a process of its own, serves the files. A round begins with nothing in the
store; runs are killed, some a moment after they have read so many bytes, others at one of the
system calls by which files get their names and the manifest is written, until one comes to its end.
Then every file is proven, and nothing else may be left.

What came again is measured at the client: a run notes each byte that it reads off a connection, in
memory that outlives it. That, less what the partial files have more after the kill, is what the
kill cost. The hub counts more, which is told too: what lay in the kernel's buffers was sent and
never read. A verified file that is read again would be a fault, and so would be more than 8 MiB of
one file for one kill.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fetch_ours import model_of
from served_files import MEBIBYTE, served_files

from fetch_runs import Cost, Ledger, Zygote
from hub import Content, HubProcess, Mischief
from local_opus.host import Host
from local_opus.host.partials import MAX_LOST
from local_opus.values import Device, Model
from local_opus.weights.store import partial_folder, variant_folder, variant_names
from local_opus.weights.verify import is_proven, verify_folder

REPO = "some/repo"
#: Kills of a round at most, and how many of all are at a call.
KILLS = 16
AT_CALLS = 0.4


@dataclass
class Round:
    """What came of one round; sizes are bytes."""

    kills: int = 0
    at_calls: int = 0
    worst: int = 0
    run: int = 0
    again: int = 0
    twice: int = 0
    sent: int = 0
    read: int = 0
    seconds: float = 0.0

    def add(self, cost: Cost) -> None:
        """Add a run's cost."""
        self.worst = max(self.worst, cost.worst)
        self.run = max(self.run, cost.total)
        self.again += cost.total
        self.twice += cost.whole


def main() -> int:
    """Run rounds until there were enough kills; print each, and their sum."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="fetch-kills-") as scratch:
        print(f"making {options.files} files of {options.size} MiB", flush=True)
        files = served_files(Path(scratch) / "served", options.files, options.size * MEBIBYTE)
        contents = {file.name: Content(file.path, sha256=file.sha256) for file in files}
        slow = [Mischief("slow", on="cdn", rate=options.rate * 1e6)] if options.rate else []
        with HubProcess({REPO: contents}, slow) as hub, Zygote() as zygote:
            model = model_of({
                "repo": REPO, "revision": hub.heads[REPO],
                "files": [(file.name, file.size, file.sha256) for file in files],
            })  # fmt: skip
            print(_setting(options))
            rounds = []
            while (kills := sum(one.kills for one in rounds)) < options.kills:
                campaign = Campaign(Path(scratch) / "root", hub, zygote, model)
                random = Random(f"{options.seed} {len(rounds)}")
                rounds.append(campaign.run(random, options.kills - kills))
                print(_line(f"round {len(rounds)}", rounds[-1]), flush=True)
    total = Round(*(sum(getattr(one, name) for one in rounds) for name in Round.__annotations__))
    total.worst = max(one.worst for one in rounds)
    total.run = max(one.run for one in rounds)
    print(_line(f"{len(rounds)} rounds", total))
    return 0 if total.worst <= MAX_LOST and not total.twice else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="end after so many (200)")
    parser.add_argument("--files", type=int, default=8, help="how many (8)")
    parser.add_argument("--size", type=int, default=64, help="MiB of a file (64)")
    parser.add_argument("--rate", type=float, default=50, help="MB/s of a connection, 0: any (50)")
    parser.add_argument("--seed", type=int, default=1, help="what all chance derives from (1)")
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    parser.add_argument("--folder", default=shm, help="where all is written (/dev/shm)")
    return parser.parse_args()


class Campaign:
    """One round: a store of its own, and the runs that fill it."""

    def __init__(self, root: Path, hub: HubProcess, zygote: Zygote, model: Model) -> None:
        if root.exists():
            shutil.rmtree(root)
        boot = root / "proc/sys/kernel/random"
        boot.mkdir(parents=True)
        (boot / "boot_id").write_text("the only one\n")
        environ = {"HF_ENDPOINT": hub.url, "LOCAL_OPUS_TRUSTED_HOSTS": "localhost"}
        self._host = Host(str(root), environ)
        self._hub = hub
        self._model = model
        self._folder = variant_folder("/models", model.id, variant_names(model, Device.CPU).source)
        self._ledger = Ledger(zygote, self._host, "/models", self._folder, model)

    def run(self, random: Random, most: int) -> Round:
        """Kill runs, at most so many; then let one come to its end, and prove what it left."""
        done = Round()
        begin = time.monotonic()
        self._hub.forget()
        for at_call in self._moments(random, min(most, KILLS)):
            if at_call is None:
                process = self._ledger.start()
                left = self._model.size - sum(self._ledger.have())
                # Most runs get on a little, so that there are many of them.
                received = int(random.random() ** 2 * max(1, left) * 0.5)
                self._ledger.kill(process, received, random.uniform(0, 0.01))
            else:
                self._ledger.start(watch=True, kill_at=at_call)
            result, cost = self._ledger.end()
            if result["status"] != -signal.SIGKILL:
                if result["status"]:
                    raise RuntimeError(f"a run failed: {result}")
                break
            done.kills += 1
            done.at_calls += at_call is not None
            done.add(cost)
            done.read += sum(self._ledger.counts.all())
        self._ledger.start()
        result, cost = self._ledger.end()
        if result["status"]:
            raise RuntimeError(f"the last run failed: {result}")
        done.add(cost)
        done.read += sum(self._ledger.counts.all())
        done.sent = self._hub.sent().total()
        self._prove()
        done.seconds = time.monotonic() - begin
        return done

    @staticmethod
    def _moments(random: Random, count: int) -> Iterator[int | None]:
        """Yield calls, or None where bytes count; late calls come late, when there are such."""
        for number in range(count):
            if random.random() >= AT_CALLS:
                yield None
            else:
                yield random.randrange(20 + 30 * number)

    def _prove(self) -> None:
        verdicts = verify_folder(self._host, self._folder, catalog_files=self._model.files)
        if not is_proven(verdicts):
            raise RuntimeError(f"not proven: {verdicts}")
        if self._host.files.stat(partial_folder(self._folder).rpartition("/")[0]) is not None:
            raise RuntimeError("a partial folder is left")


def _setting(options: argparse.Namespace) -> str:
    return (
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}; {options.files} x {options.size} MiB, {options.rate:g} MB/s "
        f"a connection, store in {options.folder}, seed {options.seed}"
    )


def _line(name: str, one: Round) -> str:
    def mib(size: int) -> str:
        return f"{size / MEBIBYTE:.2f} MiB"

    return (
        f"{name}: {one.kills} kills, {one.at_calls} at calls; read again: worst file of a run "
        f"{mib(one.worst)}, worst run {mib(one.run)}, all {mib(one.again)}; verified files read "
        f"again: {one.twice}; sent and never read {mib(one.sent - one.read)}; {one.seconds:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())

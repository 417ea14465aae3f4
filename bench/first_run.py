"""Times what a newcomer meets: the first command in a fresh clone, cold, and the same again.

    python3 bench/first_run.py [ROUNDS]

Each round clones this checkout into a new folder and gives it a home of its own and an empty pip
cache. The server gets a free port; everything is uninstalled and removed afterwards. The network
to the package index is part of what is timed.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run the rounds and print the seconds of each, with median and range."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    results = [one_round() for _ in range(rounds)]
    for name in results[0]:
        values = [result[name] for result in results]
        low, middle, high = min(values), statistics.median(values), max(values)
        print(f"{name:<40} {middle:8.2f}   ({low:.2f} to {high:.2f}, {rounds} rounds)")
    print(json.dumps(results))
    return 0


def one_round() -> dict[str, float]:
    """Return the figures of one fresh clone: seconds, and tokens a second."""
    with tempfile.TemporaryDirectory(prefix="local-opus-first-run-") as folder:
        clone, home = Path(folder) / "clone", Path(folder) / "home"
        home.mkdir(mode=0o700)
        subprocess.run(
            ["git", "clone", "-q", "--no-hardlinks", str(CHECKOUT), str(clone)], check=True
        )
        kept = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
        environ = {**kept, "HOME": str(home), "PIP_CACHE_DIR": f"{folder}/pip-cache"}
        words = ["--local-opus", "--model", "smollm2-135m", "--yes", "--scope", "user"]
        install = [f"{clone}/installer", *words, "--port", str(free_port())]
        try:
            cold, said = timed(install, environ)
            again, second = timed(install, environ)
            if "no changes" not in second:
                raise SystemExit(f"the second run changed something:\n{second}")
            speed = re.search(r"speed\s+([\d.]+) tokens/s", said)
            if speed is None:
                raise SystemExit(f"the first run told no speed:\n{said}")
            figures = {
                "first command, cold (s)": cold,
                "the same again, no changes (s)": again,
                "tokens/s in the self-test": float(speed[1]),
            }
            return {**figures, "uninstall --purge (s)": uninstall(clone, environ)[0]}
        finally:
            # After a failure too: no server may outlive the round.
            uninstall(clone, environ)


def uninstall(clone: Path, environ: dict[str, str]) -> tuple[float, str]:
    """Take the install back; return the seconds and what was said."""
    words = ["uninstall", "--purge", "--yes", "--scope", "user"]
    return timed([f"{clone}/installer", *words], environ)


def timed(command: list[str], environ: dict[str, str]) -> tuple[float, str]:
    """Run a command that must succeed; return the seconds and what it printed."""
    begin = time.monotonic()
    done = subprocess.run(
        command,
        check=False,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd="/",
    )
    seconds = time.monotonic() - begin
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stderr}")
    return seconds, done.stdout


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())

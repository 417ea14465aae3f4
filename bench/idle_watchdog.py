"""Leaves an installed node alone for ten minutes, and shows that nothing took that for a hang.

    sudo python3 bench/idle_watchdog.py [--minutes 10]

On a booted systemd (tests/e2e): one install, then no request at all. The watchdog is the unit's own
first, and one of two seconds by a drop-in for the second half. Exit code 1 where systemd ended the
server or started it again, or where it does not answer in the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))

import lab as labs
from machine import WHEELHOUSE, Machine
from nodes import UNIT, Node

_DROP_IN = f"/run/systemd/system/{UNIT}.d/quick.conf"


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    minutes = parser.parse_args().minutes
    lab, _held = labs.prepare()

    def prepare(tree: Path) -> None:
        labs.copy_checkout(tree / labs.INSIDE.lstrip("/"))

    with Machine(lab, "idle", prepare) as machine:
        node = Node(machine, {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": WHEELHOUSE})
        done = node.install()
        assert done.code == 0, done
        sound = _idle(node, minutes / 2, "the unit's own watchdog")
        node.shell(
            f"mkdir -p {_DROP_IN.rpartition('/')[0]}; "
            f"printf '[Service]\\nWatchdogSec=2\\n' >{_DROP_IN}; "
            f"systemctl daemon-reload; systemctl restart {UNIT}"
        )
        sound &= _idle(node, minutes / 2, "WatchdogSec=2")
        log = machine.run("journalctl", "-u", UNIT, "--output=cat").out
        events = log.count("Watchdog timeout")
        print(f"watchdog events in the journal: {events}")
        node.assert_answers()
        print("it answers")
    return 0 if sound and events == 0 else 1


def _idle(node: Node, minutes: float, what: str) -> bool:
    """Wait; return whether the server is the one that it was."""
    node.wait_ready(120)
    before = node.properties("MainPID", "NRestarts")
    begin = time.monotonic()
    time.sleep(minutes * 60)
    now = node.properties("MainPID", "NRestarts", "WatchdogUSec", "StatusText")
    waited = (time.monotonic() - begin) / 60
    print(f"{what}: {waited:.1f} min idle: {before} -> {now}", flush=True)
    return now["NRestarts"] == "0" and now["MainPID"] == before["MainPID"]


if __name__ == "__main__":
    sys.exit(main())

"""The table of actions times faults in docs/faults.md, written by the tests.

    REGENERATE_GOLDEN=1 tests/run tests/faults

writes it anew; read the difference before you commit it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections import Counter, defaultdict
from pathlib import Path

from points import Kind

PATH = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
REGENERATE = bool(os.environ.get("REGENERATE_GOLDEN"))
TITLES = {
    "install": "install",
    "rollback": "install whose self-test fails: its way back",
    "upgrade": "upgrade",
    "uninstall": "uninstall",
    "purge": "uninstall --purge",
}
HEAD = """# Actions times faults

Written by `tests/faults`, which hold it current; do not edit it. `REGENERATE_GOLDEN=1 tests/run
tests/faults` writes it anew.

Every call that changes the machine is a point: each call of the files' door that writes, makes,
renames, removes, syncs or sets something, each child process, each verb of the service manager. At
every point every fault happens that can: the process is killed before the call, or half-way through
it (after one call is before the next); the call is refused, once or, where it takes space, from
then on to the end; a child fails or is too slow, with half of its work done.

After each fault, whatever the cell says:

- the receipt can be read, and its chain holds;
- the same command again comes to its end; every file then has the content, mode and owner of a run
  without faults; nothing is pending; what had been fetched and proven is not fetched again;
- `uninstall` (with `--purge` in half of the cases) leaves the tree as it was before the install,
  with content, mode, owner, and the times of others' files. After a fault in an uninstall it is an
  install that is tried, and leads to what an install leads to.

A cell counts the faults, and says what the run that met them came to itself; one that was killed
says nothing. Where a run *rolled back*, the tree is as it was before that run. Left out of all
comparisons: the store of weights (but for `--purge`), and the receipt, its head and its lock as
long as the store is there or a failed install is to be resumed; the time of `/etc/group`, which its
own tools write anew; an empty folder `.partial` in the store.

An error is one line that names what, and one that says what to do. *Named* are the steps that could
not be taken back: the rest is, and the next run deals with those.

What is counted here is what `tests/run` tries: `tests/faults/choosing.py` says which actions that
leaves out. `LOCAL_OPUS_FAULTS=all tests/run tests/faults` tries all of all profiles, for an hour.
"""
_COLUMNS = tuple(Kind)

#: By the row's name and the fault: how often each outcome was seen.
Rows = dict[str, dict[Kind, Counter[str]]]


def rows() -> Rows:
    """Return a table without rows."""
    return defaultdict(lambda: defaultdict(Counter))


def render(operation: str, found: Rows) -> str:
    """Return the section of an operation."""
    count = sum(counter.total() for row in found.values() for counter in row.values())
    lines = [
        f"## {TITLES[operation]}",
        "",
        f"{count} faults.",
        "",
        f"| action | {' | '.join(_COLUMNS)} |",
        f"|---|{'---|' * len(_COLUMNS)}",
    ]
    for name, row in found.items():
        cells = [_cell(row.get(kind, Counter())) for kind in _COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(outcomes: Counter[str]) -> str:
    if set(outcomes) == {"killed"}:
        return str(outcomes["killed"])
    return "; ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))


def section(operation: str) -> str:
    """Return the section that is in the file; "" where there is none."""
    text = PATH.read_text() if PATH.exists() else ""
    found = re.search(
        rf"^## {re.escape(TITLES[operation])}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL
    )
    return found[0].rstrip("\n") + "\n" if found else ""


def write(operation: str, text: str) -> None:
    """Put a section into the file; two processes of a test run may do so at once."""
    with (PATH.parent / f".{PATH.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        parts = {one: text if one == operation else section(one) for one in TITLES}
        PATH.write_text("\n".join([HEAD, *(part for part in parts.values() if part)]))
    (PATH.parent / f".{PATH.name}.lock").unlink(missing_ok=True)

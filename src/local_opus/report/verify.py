"""Verdicts as a table for people and as a document for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydantic import JsonValue
from rich.table import Table
from rich.text import Text

from local_opus.values import FileVerdict, Verdict
from local_opus.weights.verify import SEVERITY, is_proven, worst

#: Rows of the table; a stranger's folder may have thousands of files. JSON has them all.
MAX_ROWS = 200
_STYLES = {Verdict.REAL: "green", Verdict.UNPROVEN: "yellow", Verdict.UNEXPECTED: "yellow"}


def verdict_table(verdicts: Sequence[FileVerdict]) -> Table:
    """Return the table: the worst files first, then by path, at most MAX_ROWS of them."""
    table = Table(box=None, pad_edge=False)
    for heading in ("file", "verdict", "trust", "evidence"):
        table.add_column(heading, overflow="fold")
    rank = {verdict: place for place, verdict in enumerate(SEVERITY)}
    rows = sorted(verdicts, key=lambda item: (rank[item.verdict], item.path))
    for item in rows[:MAX_ROWS]:
        # Text, not a string: a file's name may hold what rich takes for markup.
        table.add_row(
            Text(item.path),
            Text(item.verdict.value, style=_STYLES.get(item.verdict, "bold red")),
            Text(item.trust.value if item.trust is not None else "-"),
            Text(item.evidence),
        )
    if len(rows) > MAX_ROWS:
        table.add_row(Text(f"... and {len(rows) - MAX_ROWS} more (see --json)"), "", "", "")
    return table


def verdict_line(folder: str, verdicts: Sequence[FileVerdict]) -> str:
    """Return one line that sums up: the counts of each verdict, the worst first."""
    counts = Counter(item.verdict for item in verdicts)
    words = [f"{counts[verdict]} {verdict.value}" for verdict in SEVERITY if counts[verdict]]
    return f"{folder}: {', '.join(words) or 'no files'}"


def verdict_document(
    folder: str, verdicts: Sequence[FileVerdict], *, quick: bool
) -> dict[str, JsonValue]:
    """Return what ``verify --json`` prints: schema 1, one entry a file, by path."""
    return {
        "schema_version": 1,
        "folder": folder,
        "quick": quick,
        "proven": is_proven(verdicts),
        "worst": worst(verdicts).value,
        "files": [item.model_dump(mode="json") for item in verdicts],
    }

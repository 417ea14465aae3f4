"""Verdicts as a table for people and as a document for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table
from rich.text import Text

from local_opus.values import FileVerdict, Verdict
from local_opus.weights.verify import FOREIGN, SEVERITY, is_proven, worst

if TYPE_CHECKING:
    from local_opus.verification import Result

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


def show_folder(console: Console, result: Result) -> None:
    """Print all that was found of one folder, what was repaired, and what is to be done."""
    verdicts = result.examined.verdicts
    line = verdict_line(result.subject.folder, verdicts)
    console.print(Text(line, style="bold"), soft_wrap=True)
    for word in _remarks(result):
        console.print(Text(word), soft_wrap=True)
    console.print(verdict_table(verdicts))
    if result.repaired is not None:
        for path in result.repaired:
            console.print(Text(f"repaired: {path}", style="green"), soft_wrap=True)
        for item in (one for one in verdicts if one.verdict in FOREIGN):
            words = f"left alone: move {item.path} away, then run this again"
            console.print(Text(words, style="yellow"), soft_wrap=True)


def _remarks(result: Result) -> Iterator[str]:
    if result.against is not None:
        yield f"compared with {result.against}"
        return
    said = result.subject.attestation
    if said is not None and said.sha256 is None:
        yield f"weights.json is not attested: {said.why}"


def folder_document(result: Result) -> dict[str, JsonValue]:
    """Return what ``verify --json`` prints of one folder."""
    document = verdict_document(result.subject.folder, result.examined.verdicts, quick=result.quick)
    said = result.subject.attestation
    document["manifest"] = None
    if said is not None and result.against is None:
        document["manifest"] = {"attested_sha256": said.sha256, "not_attested": said.why or None}
    document["against"] = result.against
    if result.repaired is not None:
        document["repaired"] = [*result.repaired]
    return document


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

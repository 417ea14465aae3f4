"""The store for people and programs: what lies there, how large, by what it is proven."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table
from rich.text import Text

from local_opus.stock import Stock, StoredRow
from local_opus.units import size_text
from local_opus.weights.orphans import StoredPartial
from local_opus.weights.structure import printable

if TYPE_CHECKING:
    from local_opus.pruning import Prunable

_NS = 1_000_000_000
#: Seconds of a unit, the largest first.
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def store_table(console: Console, there: Stock) -> None:
    """Print every variant and every partial of the store."""
    if not there.rows and not there.partials:
        console.print(Text(f"Nothing is in the store ({there.folder})."))
        _print_notes(console, there)
        return
    files = f"{size_text(there.bytes)} in {there.folder}"
    console.print(Text(f"In the store: {files}", style="bold"))
    for row in there.rows:
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(ratio=1, overflow="fold")
        line.add_column(justify="right", no_wrap=True)
        name = f"  {printable(row.variant.model)} {printable(row.variant.variant)}"
        line.add_row(Text(name), Text(size_text(row.bytes)))
        console.print(line)
        console.print(Text(f"    {_facts(row)}", style="yellow" if row.problem else ""))
    if there.partials:
        console.print(Text("Unfinished; `models prune` removes what no process works on:"))
    for one in there.partials:
        console.print(_partial(one, busy=there.busy))
    _print_notes(console, there)


def _print_notes(console: Console, there: Stock) -> None:
    for note in there.notes:
        console.print(Text(f"Not known: {note}", style="yellow"))


def _facts(row: StoredRow) -> str:
    words = []
    if row.problem is not None:
        words.append(f"not usable: {row.problem}")
    elif row.trust is not None:
        words.append(f"{row.trust.value}, as its manifest says")
    if row.used_by is not None:
        words.append(f"in use: {row.used_by}")
    if not row.known:
        words.append("not in the catalog")
    return "; ".join(words)


def _partial(one: StoredPartial, *, busy: bool | None) -> Text:
    held = "a process works on it" if one.held else ""
    if not held and busy:
        held = "a run is at work, perhaps on it"
    if not held and (one.held is None or busy is None):
        held = "whether a process works on it can't be told"
    words = [size_text(one.bytes), age_text(one.touched_ns), *([held] if held else [])]
    return Text(f"  {printable(one.model)} {printable(one.name)}: {', '.join(words)}")


def age_text(touched_ns: int, now: float | None = None) -> str:
    """Say how long ago something was touched, in the largest unit that fits."""
    seconds = int((time.time() if now is None else now) - touched_ns / _NS)
    for length, word in _UNITS:
        if seconds >= length:
            count = seconds // length
            return f"{count} {word}{'s' if count > 1 else ''} ago"
    return "a moment ago"


def store_json(there: Stock) -> dict[str, JsonValue]:
    """Return the store as JSON holds it."""
    return {
        "folder": there.folder,
        "bytes": there.bytes,
        "busy": there.busy,
        "variants": [
            {
                "model": row.variant.model,
                "variant": row.variant.variant,
                "folder": row.variant.folder,
                "bytes": row.bytes,
                "trust": row.trust.value if row.trust else None,
                "in_catalog": row.known,
                "used_by": row.used_by,
                "problem": row.problem,
            }
            for row in there.rows
        ],
        "partials": [_partial_json(one) for one in there.partials],
        "not_known": [*there.notes],
    }


def _partial_json(one: StoredPartial) -> dict[str, JsonValue]:
    return {
        "model": one.model,
        "name": one.name,
        "path": one.path,
        "bytes": one.bytes,
        "touched": one.touched_ns // _NS,
        "held": one.held,
    }


def partials_table(console: Console, orphans: Sequence[StoredPartial]) -> None:
    """Print what a prune would remove."""
    for one in orphans:
        console.print(_partial(one, busy=False))


def pruned(console: Console, found: Prunable, *, dry_run: bool) -> None:
    """Print what was removed, how much that freed, and what was kept, by why."""
    for one, why in found.kept:
        words = f"{printable(one.path)}: kept, {size_text(one.bytes)}: {why}"
        console.print(Text(words, style="yellow"))
    if dry_run:
        size = sum(one.bytes for one in found.orphans)
        console.print(Text(f"{len(found.orphans)} would go, {size_text(size)}."))
        return
    for one in found.removed:
        console.print(Text(f"{printable(one.path)}: removed, {size_text(one.bytes)}"))
    if not found.removed:
        console.print(Text("Nothing to prune."))
    else:
        console.print(Text(f"{size_text(found.freed)} freed."))


def pruned_json(found: Prunable, *, dry_run: bool) -> dict[str, JsonValue]:
    """Return what a prune did, or would do, as JSON holds it."""
    gone = found.orphans if dry_run else found.removed
    return {
        "schema_version": 1,
        "dry_run": dry_run,
        "removed": [_partial_json(one) for one in gone],
        "kept": [_partial_json(one) | {"reason": why} for one, why in found.kept],
        "freed": 0 if dry_run else found.freed,
    }

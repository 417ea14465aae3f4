"""What ``bench device`` measured, for a person (80 columns) and for a program (JSON)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import JsonValue
from rich.console import Console
from rich.table import Table
from rich.text import Text

from local_opus.devices.claims import Claim, number
from local_opus.devices.figures import Figure, Published
from local_opus.devices.measured import (
    UNITS,
    WITHOUT_OPENVINO,
    MeasuredDevice,
    MeasuredMachine,
    Measurement,
    What,
)

_NAMES = {
    What.INT8: "int8 products",
    What.HALF: "fp16/bf16 products",
    What.FP32: "fp32 products",
    What.DECODE: "weights read",
    What.DECODE_INT8: "int8 weights read",
    What.BLAS: "fp32, numpy's BLAS",
    What.READ: "memory read, numpy",
    What.COPY: "memory copied, numpy",
}
#: The peak that a figure is held against.
_PEAKS = {
    What.INT8: "int8_tops",
    What.HALF: "fp16_tflops",
    What.FP32: "fp32_tflops",
    What.BLAS: "fp32_tflops",
    **dict.fromkeys((What.DECODE, What.DECODE_INT8, What.READ, What.COPY), "memory_gbs"),
}
_LABELS = {
    "int8_tops": "int8",
    "fp16_tflops": "fp16/bf16",
    "fp32_tflops": "fp32",
    "memory_gbs": "memory",
}
_SERVER = "A server of this machine runs and took part of it: stop it for the true figures."


def bench_json(
    measured: MeasuredMachine, published: Mapping[str, Published | None], claims: Sequence[Claim]
) -> dict[str, JsonValue]:
    """Return what was measured as JSON holds it, beside it the peaks and the claims."""
    document: dict[str, JsonValue] = measured.model_dump(mode="json")
    document["published"] = {
        name: None if one is None else one.model_dump(mode="json")
        for name, one in published.items()
    }
    document["claims"] = [one.model_dump(mode="json") for one in claims]
    return document


def print_bench(
    console: Console,
    measured: MeasuredMachine,
    published: Mapping[str, Published | None],
    claims: Sequence[Claim],
) -> None:
    """Print a table for each device, where its peaks come from, and the old claims."""
    for device in measured.devices:
        _print_device(console, device, published.get(device.name))
    _print_claims(console, claims)
    if measured.beside_server:
        console.print(_text(_SERVER, "yellow"))


def progress_line(device: str, figure: Measurement) -> str:
    """Return one line that tells of one figure."""
    return f"{device}: {_NAMES[figure.what]}: {_measured(figure)}"


def share(figure: Measurement, peaks: Published | None) -> float | None:
    """Return the median as a share of the published peak; None where there is one of them only."""
    peak = _peak(figure.what, peaks)
    if peak is None or figure.median is None or not figure.counts:
        return None
    return figure.median / peak.value


def _print_device(console: Console, device: MeasuredDevice, peaks: Published | None) -> None:
    where = f", {peaks.platform}" if peaks and peaks.platform != device.full_name else ""
    console.print(_text(f"{device.name}  {device.full_name}{where}", "bold cyan"))
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("", "published", "measured", "best", "spread", "share"):
        table.add_column(title, justify="left" if not title else "right", no_wrap=True)
    table.add_column("ran as", overflow="fold")
    for figure in device.figures:
        table.add_row(*map(_text, _row(figure, peaks)))
    console.print(table)
    for line in _notes(device, peaks):
        console.print(_text(f"  {line}", "dim"))
    for figure in device.figures:
        if why := figure.problem or figure.lacks:
            style = "red" if figure.problem else "yellow"
            console.print(_text(f"  {_NAMES[figure.what]}: {why}", style))
    console.print()


def _row(figure: Measurement, peaks: Published | None) -> list[str]:
    peak, part = _peak(figure.what, peaks), share(figure, peaks)
    cells = [_NAMES[figure.what], number(peak.value) if peak else "-"]
    if not figure.counts:
        return [*cells, "none", "", "", "", figure.precision or ""]
    spread = f"±{figure.spread:.0%}" if figure.spread is not None else ""
    return [
        *cells,
        _measured(figure),
        number(figure.best),
        spread,
        f"{part:.0%}" if part is not None else "-",
        figure.precision or ("" if figure.what in WITHOUT_OPENVINO else "not told"),
    ]


def _measured(figure: Measurement) -> str:
    if not figure.counts:
        return figure.problem or figure.lacks or "none"
    return f"{number(figure.median)} {UNITS[figure.what]}"


def _peak(what: What, peaks: Published | None) -> Figure | None:
    found = getattr(peaks, _PEAKS[what]) if peaks is not None else None
    return found if isinstance(found, Figure) else None


def _notes(device: MeasuredDevice, peaks: Published | None) -> list[str]:
    lines = []
    for key, label in _LABELS.items():
        figure = getattr(peaks, key) if peaks is not None else None
        if isinstance(figure, Figure):
            lines.append(f"published {label}: {figure.source} ({figure.confidence.value})")
    if not lines:
        lines.append("nothing is published of it here, or no clock is told")
    ours, blas = device.figure(What.FP32), device.figure(What.BLAS)
    if ours and blas and ours.median and blas.median:
        lines.append(f"OpenVINO's fp32 is {ours.median / blas.median:.2f} of numpy's BLAS")
    return lines


def _print_claims(console: Console, claims: Sequence[Claim]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("old claim", no_wrap=True)
    for title in ("claimed", "published", "measured"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("unit")
    for claim in claims:
        words = (number(claim.claimed), claim.published_words, claim.measured_words)
        table.add_row(*map(_text, (claim.name, *words, claim.unit)))
    console.print(table)
    for claim in claims:
        console.print(_text(f"  {claim.name}: {claim.note}", "dim"))


def _text(words: str, style: str = "") -> Text:
    """Return text without markup and without a stranger's control characters."""
    return Text("".join(letter for letter in words if letter.isprintable()), style=style)

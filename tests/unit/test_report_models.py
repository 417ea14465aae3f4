"""How the catalog is shown, at the widths that people have."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from test_catalog_fit import machine

from local_opus.catalog import load
from local_opus.catalog.fitting import Fit, fit
from local_opus.report.models import ModelRow, model_details, model_json, models_json, models_table
from local_opus.values import Device, MemoryFit, Model

CATALOG = load()
YES = Fit(fits=True, device=Device.CPU, reasons=(), memory=10**9, disk=10**9)
NO = Fit(
    fits=False, device=None, reasons=("needs 12 GiB memory, 8.1 GiB usable", "needs 9 GiB disk, 1 GiB free at /x"),
    memory=12 * 2**30, disk=9 * 2**30,
)  # fmt: skip


def shown(function, argument, width: int) -> list[str]:
    stream = io.StringIO()
    function(Console(file=stream, width=width, color_system=None), argument)
    return stream.getvalue().splitlines()


def row(model_id: str, found: Fit = YES, **more: bool) -> ModelRow:
    return ModelRow(CATALOG.get(model_id), found, **more)


@pytest.mark.parametrize("width", [80, 100, 120, 160])
def test_nothing_is_cut_at_any_width(width: int) -> None:
    rows = [
        ModelRow(model, NO if number % 2 else YES) for number, model in enumerate(CATALOG.models)
    ]
    lines = shown(models_table, rows, width)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= width
    assert "…" not in text
    words = text.replace(":", " ").split()
    assert {model.id for model in CATALOG.models} <= set(words)
    for model in CATALOG.models:
        assert model.license.id.split()[0] in words


def test_a_narrow_table_has_every_fact() -> None:
    lines = shown(models_table, [row("qwen3-8b-int4-ov")], 80)
    assert lines[0] == f"{'qwen3-8b-int4-ov':<70} yes (CPU)"
    assert lines[1].rstrip() == (
        "  4.5 GiB · memory ~954 MiB · 40,960 tokens · CPU, GPU · Apache-2.0"
    )
    assert lines[-1].startswith("1 of 1 fit this machine.")


def test_a_wide_table_has_a_column_for_every_fact() -> None:
    lines = shown(models_table, [row("qwen3-8b-int4-ov", stored=True)], 140)
    assert lines[0].split() == ["Model", "Size", "Memory", "Context", "Devices", "Licence", "Fits"]
    assert lines[1].split() == [
        *("qwen3-8b-int4-ov", "4.5", "GiB", "~954", "MiB", "40,960", "CPU,", "GPU", "Apache-2.0"),
        *("yes", "(CPU),", "in", "the", "store"),
    ]


@pytest.mark.parametrize("width", [80, 140])
def test_what_does_not_fit_comes_last_with_all_reasons(width: int) -> None:
    lines = shown(models_table, [row("qwen3-14b-q8_0", NO), row("smollm2-135m")], width)
    text = " ".join(" ".join(lines).split())
    assert text.index("smollm2-135m") < text.index("qwen3-14b-q8_0")
    assert "needs 12 GiB memory, 8.1 GiB usable; needs 9 GiB disk, 1 GiB free at /x" in text
    assert "1 of 2 fit this machine." in text


@pytest.mark.parametrize("model", CATALOG.models, ids=lambda model: model.id)
def test_details_hold_every_digest_and_every_word(model: Model) -> None:
    lines = shown(model_details, ModelRow(model, NO), 80)
    text = "".join("".join(lines).split())
    assert max(map(len, lines)) <= 80
    words = [*model.caveats, *model.figures, *NO.reasons, model.license.note or ""]
    digests = [file.sha256 for file in model.files]
    for wanted in [*words, *digests, model.memory.source]:
        assert "".join(wanted.split()) in text


def test_markup_in_data_is_text() -> None:
    model = CATALOG.get("smollm2-135m").model_copy(update={"caveats": ("[bold]x[/bold] [/]",)})
    assert any(
        "[bold]x[/bold] [/]" in line for line in shown(model_details, ModelRow(model, YES), 80)
    )


def test_json_holds_the_entry_and_the_fit() -> None:
    found = json.loads(json.dumps(model_json(row("smollm2-135m", NO))))
    assert found["fit"] == {
        "fits": False, "device": None, "device_name": None, "reasons": list(NO.reasons),
        "memory": 12 * 2**30, "disk": 9 * 2**30, "memory_parts": None, "disk_parts": None,
    }  # fmt: skip
    assert found["size"] == 98_362_432
    assert found["stored"] is False
    entry = {key: found[key] for key in Model.model_fields}
    assert Model.model_validate_json(json.dumps(entry)) == CATALOG.get("smollm2-135m")


def test_the_parts_of_memory_and_disk_are_shown_and_told() -> None:
    model = CATALOG.get("qwen3-8b-q4_k_m")
    found = ModelRow(model, fit(model, machine(memory=15.5, disk=76), None))
    text = " ".join("\n".join(shown(model_details, found, 160)).split())
    assert (
        "Memory weights 7.5 GiB + KV cache 1 GiB (when full: 12,595 tokens of all requests" in text
    )
    assert "= about 8.8 GiB of 15.5 GiB usable" in text
    assert "Catalog says 12 GiB (stated: " in text
    assert (
        "Disk fetched 4.7 GiB + converted 5.6 GiB + margin 527 MiB = 10.8 GiB of 76 GiB free"
        in text
    )
    told = model_json(found)["fit"]
    assert isinstance(told, dict)
    parts = MemoryFit.model_validate({k: v for k, v in told["memory_parts"].items() if k != "fits"})
    assert sum(one.bytes for one in parts.parts) == parts.bytes == told["memory"]
    assert told["memory_parts"]["fits"] is told["disk_parts"]["fits"] is True


def test_json_keeps_the_order_given() -> None:
    found = models_json([row("smollm2-135m", NO), row("qwen3-4b-int4-ov")])
    models = found["models"]
    assert isinstance(models, list)
    assert [model["id"] for model in models] == ["smollm2-135m", "qwen3-4b-int4-ov"]

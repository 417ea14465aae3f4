"""A few flips of the campaign in bench/bit_flips.py, in a small folder of every kind of file."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from builders import IR_BIN, gguf_bytes, ir_xml

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture(scope="module")
def bench() -> dict[str, object]:
    return runpy.run_path(str(BENCH / "bit_flips.py"))


def test_every_flip_is_found_in_the_file_where_it_is(bench, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name, data in {
        "tiny.gguf": gguf_bytes(),
        "openvino_model.xml": ir_xml(),
        "openvino_model.bin": IR_BIN,
        "tokenizer.json": b'{"model": {"vocab": {}}, "added_tokens": []}',
        "chat_template.jinja": b"{{ messages }}",
    }.items():
        (folder / name).write_bytes(data)
    bench["listed"](folder)  # type: ignore[operator]
    said, missed = bench["campaign"](folder, 60, 7)  # type: ignore[operator]
    assert missed == []
    assert sum(said.values()) == 60
    assert {words.partition(":")[0] for words in said} == {path.name for path in folder.iterdir()}


def test_a_flip_that_nobody_sees_is_told(bench, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.gguf").write_bytes(gguf_bytes())
    bench["listed"](folder)  # type: ignore[operator]
    sound = bench["verdicts"](folder, _digest(folder))  # type: ignore[operator]
    campaign = bench["campaign"]
    monkeypatch.setitem(campaign.__globals__, "verdicts", lambda *_: sound)  # type: ignore[attr-defined]
    assert len(campaign(folder, 5, 1)[1]) == 5  # type: ignore[operator]


def _digest(folder: Path) -> str:
    from local_opus.weights import manifest as manifests

    return manifests.digest((folder / "weights.json").read_bytes())

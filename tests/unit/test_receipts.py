"""The receipt: chained, torn lines recognised, damage told by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus.errors import LocalOpusError
from local_opus.receipts import Event, Receipt

PATH = "/state/receipt.jsonl"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "state").mkdir()
    return FakeHost(tmp_path)


def filled(host: FakeHost) -> Receipt:
    receipt = Receipt(host, PATH)
    receipt.append(Event.RUN, data={"profile": "p"})
    receipt.append(Event.BEGIN, id="a", kind="k", params={"x": 1}, data={"existed": False})
    receipt.append(Event.DONE, id="a", data={"sha256": "s"})
    return receipt


def test_what_is_written_is_read_again(host: FakeHost) -> None:
    filled(host)
    history = Receipt(host, PATH).history
    entry = history.get("a")
    assert entry is not None
    assert (entry.status, entry.before, entry.after) == (
        Event.DONE,
        {"existed": False},
        {"sha256": "s"},
    )
    assert history.run == {"profile": "p"}
    assert not history.finished


def test_only_root_reads_it(host: FakeHost, tmp_path: Path) -> None:
    filled(host)
    assert (tmp_path / "state/receipt.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_counts_as_never_written(host: FakeHost, tmp_path: Path, cut: int) -> None:
    filled(host)
    path = tmp_path / "state/receipt.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    receipt = Receipt(host, PATH)
    assert len(receipt.records) == 2
    receipt.append(Event.DONE, id="a", data={})
    assert [record.event for record in Receipt(host, PATH).records][-1] is Event.DONE


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda lines: [lines[0].replace('"p"', '"q"'), *lines[1:]], 1),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: [lines[1], lines[0], lines[2]], 1),
        (lambda lines: ["garbage", *lines[1:]], 1),
        (lambda lines: [lines[0], "{}", lines[2]], 2),
    ],
    ids=["edited", "missing", "reordered", "garbage", "empty"],
)
def test_damage_is_told_by_its_line(host: FakeHost, tmp_path: Path, damage, line: int) -> None:  # type: ignore[no-untyped-def]
    filled(host)
    path = tmp_path / "state/receipt.jsonl"
    path.write_text("".join(f"{text}\n" for text in damage(path.read_text().splitlines())))
    with pytest.raises(LocalOpusError, match=rf"receipt\.jsonl:{line}:"):
        Receipt(host, PATH)


def test_a_newer_schema_is_refused(host: FakeHost, tmp_path: Path) -> None:
    record = {"v": 2, "n": 1, "at": "", "event": "run"}
    (tmp_path / "state/receipt.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(LocalOpusError, match="newer version"):
        Receipt(host, PATH)


def test_a_repeated_begin_keeps_what_was_there_first(host: FakeHost) -> None:
    receipt = filled(host)
    receipt.append(Event.BEGIN, id="a", kind="k", params={"x": 2}, data={"existed": True})
    entry = receipt.history.get("a")
    assert entry is not None
    assert (entry.before, entry.params) == ({"existed": False}, {"x": 2})


def test_a_reverted_entry_is_gone(host: FakeHost) -> None:
    receipt = filled(host)
    receipt.append(Event.REVERTED, id="a")
    assert receipt.history.get("a") is None

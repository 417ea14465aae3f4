"""The receipt: chained, torn lines recognised, damage told by line."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus.errors import LocalOpusError
from local_opus.history import Event, Record
from local_opus.host import FileStat, Host
from local_opus.receipts import FIRST_SUM, NewerReceiptError, Receipt, is_there, salvage

PATH = "/state/receipt.jsonl"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "state").mkdir()
    return FakeHost(tmp_path)


def begin(receipt: Receipt, params: dict[str, int], there: dict[str, bool]) -> None:
    data = {"before": there, "found": there}
    receipt.append(Event.BEGIN, id="a", kind="k", params=params, data=data)


def filled(host: FakeHost) -> Receipt:
    receipt = Receipt(host, PATH)
    receipt.append(Event.RUN, data={"profile": "p"})
    begin(receipt, {"x": 1}, {"existed": False})
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
    receipt = filled(host)
    path, head = tmp_path / "state/receipt.jsonl", tmp_path / "state/receipt.head"
    before = head.read_bytes()
    whole = path.read_bytes()
    receipt.append(Event.FINISHED)
    path.write_bytes(path.read_bytes()[:-cut])  # a kill in the middle of the write ...
    head.write_bytes(before)  # ... so the head was not reached
    assert path.read_bytes().startswith(whole)
    receipt = Receipt(host, PATH)
    assert len(receipt.records) == 3
    receipt.append(Event.FAILED)
    assert [record.event for record in Receipt(host, PATH).records][2:] == [
        Event.DONE,
        Event.FAILED,
    ]


@pytest.mark.parametrize("left", [0, 1, 2])
def test_lines_missing_at_the_end_are_noticed(host: FakeHost, tmp_path: Path, left: int) -> None:
    filled(host)
    path = tmp_path / "state/receipt.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:left]))
    with pytest.raises(LocalOpusError, match=rf"{3 - left} of 3 records are missing at the end"):
        Receipt(host, PATH)


def test_a_record_whose_head_was_not_written_counts(host: FakeHost, tmp_path: Path) -> None:
    receipt = filled(host)
    before = (tmp_path / "state/receipt.head").read_bytes()
    receipt.append(Event.FINISHED)
    (tmp_path / "state/receipt.head").write_bytes(before)
    receipt = Receipt(host, PATH)
    assert receipt.history.finished
    receipt.append(Event.RUN)
    assert len(Receipt(host, PATH).records) == 5


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "missing or empty"),
        (b"", "missing or empty"),
        (b"garbage", "not the head of a receipt"),
        (b"%12d %s\n" % (3, b"0" * 64), "of another receipt"),
    ],
    ids=["missing", "empty", "garbage", "another"],
)
def test_a_wrong_head_is_named(host, tmp_path, content, says) -> None:  # type: ignore[no-untyped-def]
    filled(host)
    head = tmp_path / "state/receipt.head"
    head.unlink() if content is None else head.write_bytes(content)
    with pytest.raises(LocalOpusError, match=rf"receipt\.head: {says}"):
        Receipt(host, PATH)


def test_a_head_that_is_long_behind_is_judged_by_the_locks_holder(host, tmp_path):  # type: ignore[no-untyped-def]
    filled(host)
    (tmp_path / "state/receipt.head").write_bytes(b"%12d %s\n" % (0, b"0" * 64))
    assert len(Receipt(host, PATH).records) == 3  # it was read before a run wrote those three
    with pytest.raises(LocalOpusError, match=r"receipt\.head: of another receipt"):
        Receipt(host, PATH, held=True)


def meanwhile(host: FakeHost, happens: Callable[[], None], times: int) -> None:
    """Have something happen after each of the first reads of a file."""
    real, left = host.files.read_bytes, iter(range(times))

    def read_bytes(path: str, limit: int | None = None) -> bytes:
        data = real(path, limit)
        if next(left, None) is not None:
            happens()
        return data

    host.files.read_bytes = read_bytes  # type: ignore[method-assign]


@pytest.mark.parametrize("times", [1, 2, 5])
def test_what_a_run_appends_meanwhile_is_no_damage(host: FakeHost, times: int) -> None:
    run = filled(host)

    def append() -> None:
        for _ in range(3):
            run.append(Event.KEPT, id="a")

    meanwhile(host, append, times)
    assert Receipt(host, PATH).history.get("a") is not None


def test_a_first_record_that_comes_meanwhile_is_no_damage(host: FakeHost) -> None:
    run = Receipt(host, PATH)
    real = host.files.stat
    looked = []

    def stat(path: str, *, follow: bool = False) -> FileStat | None:
        found = real(path, follow=follow)
        if path.endswith(".head") and not looked:
            looked.append(path)
            run.append(Event.RUN)
        return found

    host.files.stat = stat  # type: ignore[method-assign]
    assert len(Receipt(host, PATH).records) == 1


def test_an_uninstall_that_ends_meanwhile_is_no_damage(host: FakeHost, tmp_path: Path) -> None:
    run = filled(host)
    run.append(Event.LEFT)

    def leave() -> None:
        for path in (tmp_path / "state").iterdir():
            path.unlink()

    meanwhile(host, leave, 1)
    assert Receipt(host, PATH).records == []


def test_the_head_is_never_two_behind(host, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    receipt = filled(host)
    with monkeypatch.context() as patch:
        patch.setattr(host.files, "open_in_place", full_disk)
        receipt.append(Event.FAILED)  # it is on the disk, so it counts
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                receipt.append(Event.FINISHED)
    assert [record.event for record in Receipt(host, PATH).records][3:] == [Event.FAILED]
    receipt.append(Event.FINISHED)
    assert Receipt(host, PATH).history.finished


def full_disk(path: str) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", path)


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


def first_schema() -> bytes:
    """Four records of a version that wrote no head."""
    text, last = "", FIRST_SUM
    events = [{"event": "run"}, {"event": "begin", "id": "a"}, {"event": "done", "id": "a"}]
    for number, event in enumerate([*events, {"event": "finished"}], start=1):
        record = Record.model_validate({"v": 1, "n": number, "at": "", **event})
        last = record.checksum(last)
        text += record.model_copy(update={"sum": last}).model_dump_json() + "\n"
    return text.encode()


@pytest.mark.parametrize("became", [b"\r", b"\v", b"\f", b"\x1c", b"\x85", b"x", b"\0"])
@pytest.mark.parametrize(("place", "line"), [(b'"id":"a"', 2), (b'"}\n', 1)])
def test_a_byte_that_became_another_is_damage(host, tmp_path, became, place, line):  # type: ignore[no-untyped-def]
    data = bytearray(first_schema())
    at = data.index(place) + 2
    data[at : at + 1] = became
    (tmp_path / "state/receipt.jsonl").write_bytes(data)
    with pytest.raises(LocalOpusError, match=rf"receipt\.jsonl:{line}:"):
        Receipt(host, PATH)


def test_a_newer_schema_is_refused(host: FakeHost, tmp_path: Path) -> None:
    record = {"v": 3, "n": 1, "at": "", "event": "run"}
    (tmp_path / "state/receipt.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(LocalOpusError, match="newer version"):
        Receipt(host, PATH)


def test_a_repeated_begin_keeps_what_was_there_first(host: FakeHost) -> None:
    receipt = filled(host)
    begin(receipt, {"x": 2}, {"existed": True})
    entry = receipt.history.get("a")
    assert entry is not None
    assert (entry.before, entry.params) == ({"existed": False}, {"x": 2})


def test_a_reverted_entry_is_gone(host: FakeHost) -> None:
    receipt = filled(host)
    receipt.append(Event.REVERTED, id="a")
    assert receipt.history.get("a") is None


@pytest.mark.parametrize(
    ("finished", "found"), [(False, {"existed": False}), (True, {"existed": True})]
)
def test_what_a_run_found_is_that_of_the_first_since_one_was_finished(
    host: FakeHost,
    finished: bool,
    found: dict[str, bool],
) -> None:
    receipt = filled(host)
    if finished:
        receipt.append(Event.FINISHED)
    begin(receipt, {"x": 2}, {"existed": True})
    entry = receipt.history.get("a")
    assert entry is not None
    assert (entry.before, entry.found) == ({"existed": False}, found)
    assert [one.id for one in receipt.history.unfinished()] == ["a"]


def test_a_restored_entry_stands_as_the_last_finished_run_left_it(host: FakeHost) -> None:
    receipt = filled(host)
    receipt.append(Event.FINISHED)
    finished = receipt.history.get("a")
    begin(receipt, {"x": 2}, {"existed": True})
    receipt.append(Event.RESTORED, id="a")
    assert receipt.history.get("a") == finished
    assert receipt.history.unfinished() == ()


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda text: text.replace('"p"', '"q"'), 0),
        (lambda text: text.replace('"existed":false', '"existed":true'), 1),
        (lambda text: text[:-40], 2),
        (lambda text: text + "garbage\n", 3),
        (lambda _text: "", 0),
    ],
    ids=["first edited", "second edited", "torn", "garbage after", "empty"],
)
def test_of_a_damaged_receipt_the_good_part_can_be_kept(host, tmp_path, damage, kept) -> None:  # type: ignore[no-untyped-def]
    filled(host)
    path = tmp_path / "state/receipt.jsonl"
    path.write_text(damaged := damage(path.read_text()))
    with pytest.raises(LocalOpusError, match="receipt"):
        Receipt(host, PATH)
    assert salvage(host, PATH) == (kept, f"{PATH}.damaged-1")
    receipt = Receipt(host, PATH)
    assert len(receipt.records) == kept
    receipt.append(Event.RUN)
    assert len(Receipt(host, PATH).records) == kept + 1
    assert path.with_name("receipt.jsonl.damaged-1").read_text() == damaged


def test_what_a_newer_version_wrote_is_not_damaged(host: FakeHost, tmp_path: Path) -> None:
    record = {"v": 3, "n": 1, "at": "", "event": "run"}
    path = tmp_path / "state/receipt.jsonl"
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(NewerReceiptError):
        salvage(host, PATH)
    assert [entry.name for entry in path.parent.iterdir()] == ["receipt.jsonl"]


def test_of_a_receipt_that_is_gone_nothing_is_set_aside(host: FakeHost, tmp_path: Path) -> None:
    filled(host)
    (tmp_path / "state/receipt.jsonl").unlink()
    assert is_there(host, PATH)
    with pytest.raises(LocalOpusError, match="3 of 3 records are missing"):
        Receipt(host, PATH)
    assert salvage(host, PATH) == (0, None)
    assert Receipt(host, PATH).records == []
    assert sorted(os.listdir(tmp_path / "state")) == ["receipt.head", "receipt.jsonl"]


@pytest.mark.parametrize("torn", [b"", b'{"v":2,'])
def test_a_sound_receipt_is_not_salvaged(host: FakeHost, tmp_path: Path, torn: bytes) -> None:
    filled(host)
    path = tmp_path / "state/receipt.jsonl"
    path.write_bytes(path.read_bytes() + torn)
    before = {one.name: (one.read_bytes(), one.stat().st_ino) for one in path.parent.iterdir()}
    assert salvage(host, PATH) is None
    after = {one.name: (one.read_bytes(), one.stat().st_ino) for one in path.parent.iterdir()}
    assert after == before


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("", lambda path: os.chown(path, 1000, 1000), "user 1000 owns it"),
        ("", lambda path: path.chmod(0o777), "others may write it"),
        ("receipt.jsonl", lambda path: os.chown(path, 1000, 0), "user 1000 owns it"),
        ("receipt.jsonl", lambda path: path.chmod(0o606), "others may write it"),
        ("receipt.head", lambda path: os.chown(path, 1000, 1000), "user 1000 owns it"),
    ],
)
def test_root_believes_no_receipt_that_others_can_write(tmp_path, name, change, said):
    host, path = Host("/", {}), tmp_path / "state/receipt.jsonl"
    path.parent.mkdir(mode=0o755)
    Receipt(host, str(path)).append(Event.RUN)
    assert len(Receipt(host, str(path)).records) == 1
    change(path.parent / name)
    with pytest.raises(LocalOpusError, match=said) as caught:
        Receipt(host, str(path))
    assert caught.value.message.startswith(str(path.parent / name))
    assert "chown root:" in caught.value.remedy

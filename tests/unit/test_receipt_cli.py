"""``receipt`` as it is typed: shown, and salvaged where it is damaged, also in an image."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import cli
from local_opus.history import Event
from local_opus.receipts import Receipt

STATE = "/var/lib/local-opus"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / f"image{STATE}").mkdir(parents=True)
    receipt = Receipt(FakeHost(tmp_path / "image"), f"{STATE}/receipt.jsonl")
    receipt.append(Event.RUN, data={"profile": "p"})
    receipt.append(Event.FINISHED)
    return tmp_path / "image"


def said(capsys: pytest.CaptureFixture[str], image: Path, *words: str) -> tuple[int, str, str]:
    code = cli.main(["receipt", "--root", str(image), "--scope", "system", *words])
    found = capsys.readouterr()
    return code, found.out, found.err


def test_the_receipt_of_an_image_is_shown(capsys, image):
    code, out, _ = said(capsys, image)
    assert code == 0
    assert "2 records, checksums right, complete" in out


def test_where_nothing_is_installed_nothing_is_salvaged(capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    for words in ((), ("--salvage",)):
        code, _, err = said(capsys, tmp_path / "empty", *words)
        assert (code, "nothing is installed" in err) == (1, True)
    assert list((tmp_path / "empty").iterdir()) == []


def test_the_way_on_from_a_receipt_that_is_gone(capsys, image):
    (image / f".{STATE}/receipt.jsonl").unlink()
    code, _, err = said(capsys, image)
    assert (code, "2 of 2 records are missing" in err, "--salvage" in err) == (1, True, True)
    code, out, _ = said(capsys, image, "--salvage")
    assert code == 0
    assert "0 records kept; the file itself was gone" in out
    assert said(capsys, image)[0] == 0


def test_the_way_on_from_a_damaged_receipt(capsys, image):
    path = image / f".{STATE}/receipt.jsonl"
    path.write_text(path.read_text().replace("finished", "finiched"))
    code, out, _ = said(capsys, image, "--salvage")
    assert code == 0
    assert f"1 records kept; the whole is in {STATE}/receipt.jsonl.damaged-1" in out
    assert said(capsys, image)[0] == 0


def test_a_sound_receipt_is_left_as_it_is(capsys, image):
    folder = image / f".{STATE}"
    before = (folder / "receipt.jsonl").stat()
    code, out, _ = said(capsys, image, "--salvage")
    assert code == 0
    assert out.startswith("Nothing is damaged, and nothing was changed.\n")
    assert (folder / "receipt.jsonl").stat().st_mtime_ns == before.st_mtime_ns
    assert not list(folder.glob("*.damaged-*"))

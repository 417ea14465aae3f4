"""Why a server ended, by its own words, and the log that outlives the install."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes import FakeHost
from local_opus import server_log
from local_opus.errors import LocalOpusError
from local_opus.last_words import last_words
from local_opus.locations import Locations

SEE = "See `local-opus logs`."
SAID = "error: model.json: folder: Field required\n       more\n  fix: Correct the file.\n"


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    (tmp_path / "root").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return FakeHost(tmp_path / "root")


def printed(host: FakeHost, places: Locations, text: str) -> None:
    host.files.make_folders(places.logs)
    host.files.write_atomic(places.server_log, text.encode())


def failing(host: FakeHost, places: Locations, remedy: str) -> str:
    """Return the remedy of a failure whose log is kept."""
    with pytest.raises(LocalOpusError) as caught, server_log.kept(host, places):
        raise LocalOpusError("it failed", remedy)
    return caught.value.remedy


@pytest.mark.parametrize(
    ("log", "why", "remedy"),
    [
        (f"starting\n{SAID}", "model.json: folder: Field required", "Correct the file."),
        (f"{SAID}starting\nKilled\n", "Killed", SEE),
        ("Traceback ...\nKeyError: 'x'\n\n", "KeyError: 'x'", SEE),
        ("  fix: Correct the file.\n", "fix: Correct the file.", SEE),
        ("", "it printed no error", SEE),
    ],
    ids=["error and remedy", "an earlier error", "traceback", "half of it", "nothing"],
)
def test_the_last_words(host, places, log, why, remedy):
    printed(host, places, log)
    assert server_log.last_words(host, places) == (why, remedy)


ROUTINE = "2026-11-30 12:32:52,401 INFO local_opus.server.engine_client: the engine is ready\n"


@pytest.mark.parametrize(
    ("text", "of_one", "of_many"),
    [
        (SAID, ("model.json: folder: Field required", "Correct the file."), ("model.json: folder: Field required", "Correct the file.")),
        (f"{SAID}it ends\n", ("model.json: folder: Field required", "Correct the file."), ("it ends", "")),
        ("error: no memory\n", ("no memory", ""), ("error: no memory", "")),
        ("Traceback ...\nKeyError: 'x'\n", ("KeyError: 'x'", ""), ("KeyError: 'x'", "")),
        (f"Killed\n{ROUTINE}", ("Killed", ""), ("", "")),
        (f"{SAID}{ROUTINE}", ("model.json: folder: Field required", "Correct the file."), ("", "")),
        (ROUTINE, ("", ""), ("", "")),
        ("\n", ("", ""), ("", "")),
    ],
    ids=["error and remedy", "more after it", "error alone", "traceback", "before all was well", "an error before all was well", "all is well", "nothing"],
)  # fmt: skip
def test_the_words_of_one_run_and_of_many(text, of_one, of_many):
    assert last_words(text, one_run=True) == of_one
    assert last_words(text, one_run=False) == of_many


def test_the_last_words_in_the_journal(host, places):
    look = "Look at `journalctl --user -u local-opus.service -n 50`."
    assert server_log.last_words(host, places) == ("its log is in the journal", look)


@pytest.mark.parametrize(
    ("remedy", "begin"),
    [
        (SEE, "See what the server printed: "),
        ("Correct the file.", "Correct the file; what the server printed: "),
    ],
)
def test_the_log_of_a_failure_outlives_the_install(host, places, remedy, begin):
    printed(host, places, SAID)
    told = failing(host, places, remedy)
    host.files.remove_tree(places.logs)
    copy = Path(told.removeprefix(begin).removesuffix("."))
    assert copy.parent.name == "tmp"
    assert copy.read_text() == SAID


def test_a_failure_under_systemd_names_the_journal_of_its_unit(host, places):
    assert failing(host, places.trial, SEE) == (
        "See `journalctl --user -u local-opus-trial.service -n 50`."
    )


def test_a_log_that_can_not_be_read_does_not_hide_the_failure(host, places):
    host.files.make_folders(places.server_log)
    assert failing(host, places, SEE) == SEE

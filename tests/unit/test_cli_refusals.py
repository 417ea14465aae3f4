"""What the command line refuses, in words that name whose it is: flag, variable, image, place."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from fakes import FakeHost
from local_opus import cli, state
from local_opus.cli import prompts
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.locations import locate
from local_opus.receipts import Receipt
from local_opus.report import errors, streams
from local_opus.report.reporter import RichReporter, _Seconds
from local_opus.values import Scope

Said = Callable[..., tuple[int, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """Return the exit code and what is on standard error."""

    def run(*words: str) -> tuple[int, str]:
        code = cli.main(list(words))
        return code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("words", "flags", "profile"),
    [
        (("--profile", "military", "--port", "9000"), "--port", "military"),
        (("--external-api", "--device", "GPU"), "--device", "external-api"),
        (("--external-api", "--use-case", "coding", "--port", "9000"), "--use-case and --port", "external-api"),
    ],
)  # fmt: skip
def test_a_flag_that_would_do_nothing_is_refused(said, words, flags, profile):
    code, err = said(*words, "--yes")
    assert code == 2
    assert f"error: {flags}: the profile {profile} installs no server" in err


def test_a_variable_that_would_do_nothing_is_refused_too(said, monkeypatch):
    monkeypatch.setenv("LOCAL_OPUS_PORT", "9000")
    code, err = said("--external-api", "--yes")
    assert (code, "--port: the profile external-api" in err) == (2, True)


def refused_for(said: Said, *words: str) -> str:
    """A run without a terminal, which comes to the question after these refusals."""
    code, err = said(*words)
    assert code == 2
    return err


@pytest.mark.usefixtures("home")
def test_answers_and_auto_may_say_more_than_a_profile_needs(said, tmp_path):
    file = tmp_path / "answers.toml"
    file.write_text('profile = "military"\nport = 9000\n')
    assert "not a terminal" in refused_for(said, "--answers", str(file))
    assert "not a terminal" in refused_for(said, "--external-api", "--device", "auto")


@pytest.mark.parametrize(
    ("name", "word"), [("LOCAL_OPUS_PORT", "abc"), ("LOCAL_OPUS_YES", "maybe")]
)
def test_a_bad_word_of_a_variable_is_told_by_its_name(said, name, word, monkeypatch):
    monkeypatch.setenv(name, word)
    code, err = said("--local-opus")
    assert code == 2
    assert err.startswith(f"error: {name}: ")
    assert word in err


def test_a_bad_word_that_was_typed_is_told_by_its_flag(said, monkeypatch):
    monkeypatch.setenv("LOCAL_OPUS_PORT", "abc")
    _, err = said("--local-opus", "--port", "def")
    assert "'--port'" in err
    assert "LOCAL_OPUS_PORT" not in err


def test_a_root_without_a_name_is_told_as_such(said):
    code, err = said("--root", "", "--yes")
    assert (code, 'root "" (an empty name): there is no such folder' in err) == (2, True)


def test_a_home_that_is_no_absolute_path_is_told_as_such():
    with pytest.raises(BadInputError, match="HOME: 'relative' is not an absolute path"):
        locate(Scope.USER, {"HOME": "relative"})


def image(tmp_path: Path) -> Path:
    root = tmp_path / "image"
    (root / "opt").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (root / "var").symlink_to(tmp_path / "outside")
    return root


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_in_an_image_names_the_image_and_the_link_in_the_way(
    tmp_path, capsys, monkeypatch, as_json
):
    root = image(tmp_path)

    def meet(host: FakeHost, *_args: object, **_more: object) -> None:
        state.arrive(host, locate(Scope.SYSTEM, {}))

    monkeypatch.setattr("local_opus.uninstall.uninstall", meet)
    words = ["uninstall", "--scope", "system", "--root", str(root), "--yes"]
    assert cli.main([*words, *(["--json"] if as_json else [])]) == 1
    told = capsys.readouterr()
    what = f"in the image {root}: /var: a link is in the way, and nothing is where it leads to ({tmp_path}/outside)"
    assert told.err.startswith(f"error: {what}\n")
    if as_json:
        assert json.loads(told.out.splitlines()[-1])["message"] == what
    assert os.listdir(tmp_path / "outside") == []


def test_a_pipe_in_the_place_of_the_receipt_is_told_as_one(tmp_path):
    os.mkfifo(tmp_path / "receipt.jsonl")
    with pytest.raises(LocalOpusError, match="a pipe, socket or device is in the place of"):
        Receipt(FakeHost(tmp_path), "/receipt.jsonl")


@pytest.mark.parametrize(
    ("words", "as_json", "code"),
    [(("--external-api", "--yes"), False, 0), (("--external-api", "--yes"), True, 1), (("status",), False, 1)],
)  # fmt: skip
def test_lines_that_a_program_reads_are_never_lost_in_silence(
    words, as_json, code, capsys, monkeypatch
):
    monkeypatch.setattr(streams, "lost", lambda: OSError(28, "No space left on device"))
    assert cli._tell_lost_words(words, 0, as_json=as_json) == code
    assert "not all was told" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_a_reader_that_left_is_no_failure(as_json, monkeypatch):
    monkeypatch.setattr(streams, "lost", lambda: None)
    assert cli._tell_lost_words(("--yes",), 0, as_json=as_json) == 0


def test_a_step_is_broken_between_words_where_a_narrow_screen_ends(capsys):
    path = "/home/somebody/" + "x" * 60
    reporter = RichReporter(Console(width=40, force_terminal=True, color_system=None))
    reporter.say(f"  • write {path} and then something more than that")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["  • write", f"    {path}", "    and then something more than that"]


def test_words_of_strangers_can_not_move_the_cursor(capsys):
    reporter = RichReporter(Console(width=80, force_terminal=True, color_system=None))
    reporter.say("a \x1b[2Jdriver's \x9b1mname\u202e [bold]and[/bold]\nmore")
    errors.tell(LocalOpusError("GPU: \x1b]0;x\x07 of \u202e it", "Look\x9b1m."))
    said = capsys.readouterr()
    assert said.out == "a [2Jdriver's 1mname and\nmore\n"
    assert said.err == "error: GPU: \\x1b]0;x\\x07 of \\u202e it\n  fix: Look\\x9b1m.\n"


def test_a_step_that_is_done_is_broken_there_too(capsys):
    reporter = RichReporter(Console(width=40, force_terminal=True, color_system=None))
    reporter.started("a", "fetch something: 98,362,432 bytes, proven by size")
    reporter.close()
    capsys.readouterr()
    reporter.finished("a", "done")
    assert capsys.readouterr().out.splitlines() == [
        "  ✓ fetch something: 98,362,432 bytes,",
        "    proven by size",
    ]


def test_time_left_takes_the_place_of_the_time_that_went():
    """Two durations side by side are read as one."""
    column, bars = _Seconds(time.monotonic()), Progress()
    for amount, shown in (("1/9 MiB 1.0 MiB/s, 8 s left", ""), ("1/9 MiB", "0 s")):
        bars.add_task("", amount=amount)
        assert column.render(bars.tasks[-1]).plain == shown


def test_a_choice_is_broken_between_words(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    text = "local-opus    The OpenVINO runtime, real open weights and the local server"
    lines = prompts._fitted(text).split("\n")
    assert [line.split() for line in lines] == [text.split()[:7], text.split()[7:]]
    assert max(map(len, lines)) <= 56

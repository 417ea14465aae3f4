"""What a person and a program are shown of a look."""

from __future__ import annotations

import errno
import io
import json
import os

import checks_host
import jsonschema
import pytest
from rich.console import Console
from serving import serve

from local_opus import cli
from local_opus.checks import monitor as check
from local_opus.monitor import settings, telling
from local_opus.monitor.history import Counts, History, Recovery, Sample, State
from local_opus.monitor.sight import (
    Canary,
    Condition,
    Engine,
    Health,
    Look,
    Memory,
    Seen,
    Weights,
)
from local_opus.report import monitor as report
from local_opus.report.monitor_json import schema_text
from local_opus.report.plots import bars, columns

UPTIME = 10_000.0
SEEN = Seen(
    server="system", url="http://127.0.0.1:8000", how="systemd", unit="local-opus.service",
    unit_state="active", pid=7, model="smollm2-135m", device="CPU", condition=Condition.HEALTHY,
    health=Health(seconds=0.004), engine=Engine(state="ready"),
    canary=Canary(skipped="not in this look"), baseline_tokens_per_second=50,
    memory=Memory(anonymous_bytes=500 * 2**20, current_bytes=900 * 2**20,
                  growth_bytes_per_hour=3 * 2**20),
    weights=Weights(files=6),
)  # fmt: skip
SICK = SEEN.model_copy(
    update={
        "condition": Condition.SICK,
        "reasons": ("/health: no answer within 5 s",),
        "warnings": ("device error: [x] *ERROR*",),
        "sick_in_a_row": 2,
        "health": Health(problem="no answer within 5 s"),
        "engine": None,
    }
)
HISTORY = History(
    samples=tuple(
        Sample(uptime=UPTIME - 30 * number, pid=7, condition=Condition.HEALTHY,
               rate=40 + number % 7, memory=(500 + number) * 2**20, first_token=0.1, in_flight=0)
        for number in reversed(range(100))
    ),
    canary=Canary(tokens=16, first_token_seconds=0.1, total_seconds=0.5, tokens_per_second=40),
    recoveries=(Recovery(at="2026-01-01T00:00:00+00:00", uptime=9000, reasons=("canary: x",)),),
    counts=Counts(looks=100, recoveries=1), last=SEEN,
)  # fmt: skip


def drawn(seen: Seen, width: int, *, plain: bool = False) -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii" if plain else "utf-8")
    console = Console(file=stream, width=width, height=24, color_system=None)
    look = Look(at="2026-01-01T00:00:00+00:00", servers=(seen,), notes=("state: full",))
    console.print(report.picture(look, {"system": HISTORY}, console, UPTIME))
    stream.flush()
    assert isinstance(stream.buffer, io.BytesIO)
    return stream.buffer.getvalue().decode()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("seen", [SEEN, SICK], ids=["healthy", "sick"])
def test_the_table_fits_the_terminal(seen, width):
    text = drawn(seen, width)
    assert all(len(line) <= width for line in text.splitlines())
    assert seen.condition.value in text


def test_the_table_says_what_was_seen():
    text = drawn(SEEN, 80)
    for words in ("smollm2-135m on CPU", "healthy", "40.0, 80% of 50.0", "+3 MiB/h",
                  "6 files as verified", "▇", "note: state: full"):  # fmt: skip
        assert words in text, text


def test_markup_in_a_strangers_words_is_shown_as_it_is():
    assert "[x] *ERROR*" in drawn(SICK, 120)


def test_a_terminal_without_blocks_gets_ascii():
    text = drawn(SEEN, 80, plain=True)
    assert text.isascii()
    assert "#" in text


@pytest.mark.parametrize(
    ("environ", "plain"),
    [
        ({"LANG": "C"}, True),
        ({"LANG": "POSIX"}, True),
        ({"LC_ALL": "C", "LANG": "de_DE.UTF-8"}, True),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, False),
        ({"LANG": "de_DE.UTF-8"}, False),
        ({}, False),
    ],
)
def test_the_locale_decides_on_ascii(environ, plain):
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert report.is_plain(console, environ) is plain


def test_a_dumb_terminal_gets_ascii():
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), force_terminal=True,
                      _environ={"TERM": "dumb"})  # fmt: skip
    assert report.is_plain(console, {})


@pytest.mark.parametrize(
    ("values", "height", "plain", "lines"),
    [
        ([0, 4, 8, None], 1, False, ["▁▄█ "]),
        ([0, 4, 8, None], 2, False, ["  █ ", "▁██ "]),
        ([1, 3, 6], 1, True, ["_-#"]),
        ([], 1, False, [""]),
        ([None, None], 1, False, ["  "]),
    ],
)
def test_bars(values, height, plain, lines):
    assert bars(values, height=height, plain=plain) == lines


def test_columns_are_medians_of_equal_parts():
    points = [(0, 1), (1, 9), (2, 2), (55, 7), (99, 3), (100, 5)]
    assert columns(points, 0, 100, 10) == [2, None, None, None, None, 7, None, None, None, 4]


def test_a_line_of_json_fits_the_schema():
    look = Look(at="2026-01-01T00:00:00+00:00", servers=(SEEN, SICK))
    jsonschema.validate(json.loads(look.model_dump_json()), json.loads(schema_text()))


def test_the_schema_is_current(checkout):
    path = checkout / "docs" / "monitor.schema.json"
    assert path.read_text() == schema_text(), "write it with report.monitor_json.schema_text()"


def test_a_line_of_the_log_says_why():
    assert report.line(SICK) == (
        "system: sick (2 looks in a row): /health: no answer within 5 s; "
        "warning: device error: [x] *ERROR*"
    )


@pytest.fixture
def kept(host, places):
    """A unit of the user's that looked some seconds ago."""
    host.services.runs = True
    host.files.make_folders(places.config)
    host.files.write_atomic(f"{places.config}/monitor.json", b'{"schema_version": 1}')
    folder = f"{places.state.rpartition('/')[0]}/local-opus-monitor"
    host.files.make_folders(folder)

    def keep(history: History, ago: float = 9.0) -> None:
        state = State(written_at="2026-01-01T00:00:09+00:00", uptime=host.uptime() - ago,
                      servers={"user": history})  # fmt: skip
        host.files.write_atomic(f"{folder}/state.json", state.model_dump_json().encode())

    return keep


def test_status_tells_what_was_seen_last(host, places, kept):
    kept(HISTORY)
    found = telling.told(host, places)
    assert found["verdict"] == "healthy, looked 9 s ago"
    assert (found["condition"], found["overdue"], found["recoveries"]) == ("healthy", False, 1)
    assert found["details"] == [
        "had the server started anew 1 times, last at 2026-01-01T00:00:00+00:00: canary: x"
    ]


@pytest.mark.parametrize(
    ("ago", "verdict"),
    [
        (1200, "healthy, looked 20 min ago, and not since"),
        (-5, "healthy, looked at 2026-01-01T00:00:09+00:00, and not since"),
    ],
)
def test_a_monitor_that_no_longer_looks_is_told(host, places, kept, ago, verdict):
    kept(HISTORY, ago)
    found = telling.look(host, places)
    assert (found.verdict, found.overdue) == (verdict, True)


def test_a_monitor_that_never_looked_is_told(host, places, kept):
    assert telling.look(host, places).verdict == "has not looked yet"


def test_without_a_monitor_there_is_nothing_to_tell(host, places):
    assert telling.told(host, places) is None


@pytest.mark.parametrize("words", [["--interval", "0"], ["--interval", "often"],
                                   ["--interval", "nan"], ["--interval", "1e9"],
                                   ["--interval", "-5"], ["--prometheus", "--json"],
                                   ["--state", ""], ["--scope", "none"]])  # fmt: skip
def test_words_that_make_no_sense_are_bad_input(words, capsys):
    assert cli.main(["monitor", *words]) == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize("form", ["--json", "--prometheus"])
def test_a_metrics_file_of_others_is_said_in_the_look_that_met_it(
    host, places, monkeypatch, capsys, form
):
    serve(host, places, "/models/tiny")
    host.files.make_folders("/kept")
    host.files.write_atomic("/kept/metrics.prom", b"\x00\xff")
    monkeypatch.setattr("local_opus.cli.context.open_host", lambda: host)
    cli.main(["monitor", "--once", form, "--state", "/kept"])
    said = capsys.readouterr()
    note = "/kept/metrics.prom: it is not the monitor's own file, and stays as it is"
    if form == "--json":
        assert json.loads(said.out)["notes"] == [note]
    else:
        assert said.err == f"note: {note}\n"


BAD_SETTINGS = [
    ("{", "the file: "),
    ('{"schema_version": 1, "often": 1}', "often: unknown key"),
    (None, "not a regular file"),
]


@pytest.mark.parametrize(("text", "named"), BAD_SETTINGS, ids=["junk", "unknown", "fifo"])
def test_settings_without_which_it_can_not_look_are_told(host, kept, text, named):
    kept(HISTORY)
    at = checks_host.install(host)
    checks_host.note(host, at, "server", "start_server")
    path = settings.path_of(at)
    host.files.discard(path)
    if text is None:
        os.mkfifo(f"{host.root}{path}")
    else:
        host.files.write_atomic(path, text.encode())
    assert telling.told(host, at)["verdict"].startswith(f"can't look: {path}: {named}")
    found = checks_host.one(check.CHECK, checks_host.context(host))
    assert found.state == "fail"
    assert found.evidence.startswith(f"the monitor can't look: {path}: {named}")
    assert "local-opus doctor --fix" in str(found.fix)


def test_settings_that_are_closed_are_told(host, kept, monkeypatch):
    kept(HISTORY)
    at = checks_host.install(host)
    checks_host.note(host, at, "server", "start_server")
    denied = PermissionError(errno.EACCES, "Permission denied")
    read_text = host.files.read_text

    def closed(path: str, *words: int) -> str:
        if path == settings.path_of(at):
            raise denied
        return read_text(path, *words)

    monkeypatch.setattr(host.files, "read_text", closed)
    found = checks_host.one(check.CHECK, checks_host.context(host))
    told = f"{settings.path_of(at)}: permission denied: the defaults hold"
    assert (found.state, found.evidence) == ("warn", told)

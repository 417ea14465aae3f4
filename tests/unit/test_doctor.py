"""The whole of doctor: exit codes, the document, the table, and machines on which little is."""

from __future__ import annotations

import io
import json
from pathlib import Path

import jsonschema
import pytest
from checks_host import install, write
from rich.console import Console

from fakes import FakeHost
from local_opus import checks, cli, doctor
from local_opus.checks.base import Group
from local_opus.doctor import Diagnosis
from local_opus.errors import WorkerError
from local_opus.locations import Locations, locate
from local_opus.report import doctor as report
from local_opus.values import (
    CheckResult,
    CheckState,
    Fix,
    Mended,
    Needs,
    Scope,
    TinyInference,
)
from machines import MACHINES, machine_host

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
LONG = (
    "/home/user/.local/share/local-opus/models/a-model-of-a-long-name/cpu-int4/openvino_model.bin"
)


def result(id_: str, state: str, **more: object) -> CheckResult:
    given: dict[str, object] = {
        "id": id_, "title": id_, "group": "Machine", "state": state, "evidence": f"{id_} is so", **more
    }  # fmt: skip
    return CheckResult.model_validate(given)


def diagnosis(*results: CheckResult, **more: object) -> Diagnosis:
    return Diagnosis(scope="user", results=results, seconds=1.44, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ((), 0),
        (("pass", "not applicable"), 0),
        (("pass", "warn"), 0),
        (("pass", "warn", "fail"), 3),
        (("fail",), 3),
    ],
)
def test_a_failure_is_a_problem_and_a_warning_is_none(states, code):
    found = diagnosis(*(result(str(n), state) for n, state in enumerate(states)))
    assert found.exit_code == code


def test_every_check_has_a_name_a_group_and_a_line_in_the_document():
    text = (DOCS / "doctor.md").read_text()
    ids = [check.id for check in (*checks.REGISTRY, checks.CANARY)]
    assert len(ids) == len(set(ids))
    for check in checks.REGISTRY:
        assert check.group in Group
        assert 0 < len(check.title) < 20
        assert f"| `{check.id}" in text, check.id
    folder = Path(checks.__file__).parent
    modules = {path.stem for path in folder.glob("*.py")} - {
        "__init__",
        "base",
        "context",
        "runner",
    }
    assert {
        check.ask.__module__.rpartition(".")[2] for check in (*checks.REGISTRY, checks.CANARY)
    } == modules


# -- the document ------------------------------------------------------------------------------


def test_the_schema_is_made_from_the_values():
    assert (DOCS / "doctor.schema.json").read_text() == report.schema_text()


@pytest.mark.parametrize(
    "found",
    [
        diagnosis(),
        diagnosis(result("a", "warn", fix=Fix(text="x", commands=("y",), needs=Needs.REBOOT), details=("1",))),
        diagnosis(result("a", "fail"), fixes=(Mended(lines=("x",), checks=("a",), done=False, problem="p", remedy="r"),)),
    ],
)  # fmt: skip
def test_the_document_holds_to_its_schema(found):
    document = report.diagnosis_json(found)
    jsonschema.validate(document, json.loads(report.schema_text()))
    assert sum(document["summary"].values()) == len(found.results)  # type: ignore[union-attr]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "more": 1}, json.loads(report.schema_text()))


# -- the table ---------------------------------------------------------------------------------


def shown(found: Diagnosis, width: int = 80, *, colour: bool = False) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=colour, no_color=not colour)
    report.show(found, console)
    return stream.getvalue()


EVERY = diagnosis(
    result("fine", "pass", details=("not shown",)),
    result("disk fit", "warn", evidence="word " * 40, fix=Fix(text="Free room on that disk.", commands=("du -x /",))),
    result("weights", "fail", evidence=f"{LONG}: corrupt", details=(f"{LONG}: corrupt: [red]sha256[/red] is 1",),
           fix=Fix(text="Bring it again.", commands=("local-opus verify --repair",), needs=Needs.REBOOT)),
    result("NPU", "not applicable"),
)  # fmt: skip


def test_the_table_fits_and_marks_what_fails_without_a_colour():
    lines = shown(EVERY).splitlines()
    long = [line for line in lines if len(line) > 80]
    assert all("openvino_model.bin" in line for line in long), long  # one word, and is to be copied
    assert lines[0] == "Machine"
    assert lines[1].startswith("FAIL  weights")
    assert any(line.startswith("warn  disk fit") for line in lines)
    assert any(line.startswith("-     NPU") for line in lines)
    assert "local-opus verify --repair" in [line.strip() for line in lines]
    assert "[red]sha256[/red]" in "".join(lines)
    assert "not shown" not in "".join(lines)
    assert "It takes a reboot to work." in "".join(lines)
    assert lines[-3:-1] == ["FAIL: weights", "warn: disk fit"]
    assert lines[-1] == "1 pass, 1 warn, 1 fail, 1 not applicable in 1.4 s"


@pytest.mark.parametrize("width", [1, 40, 80, 300])
def test_any_width_shows_every_word(width):
    text = " ".join(shown(EVERY, width).split())
    assert text.count("word") == 40
    assert "du -x /" in text


def test_control_characters_of_a_stranger_reach_no_terminal():
    found = diagnosis(result("x", "fail", evidence="\x1b[2Jname", details=("\x1b]0;x\x07a",)))
    assert "\x1b" not in shown(found)


def test_what_can_be_mended_is_said():
    found = diagnosis(result("x", "fail", fixable=True))
    assert shown(found).splitlines()[-1].startswith("Run `local-opus doctor --fix`")


# -- whole runs --------------------------------------------------------------------------------


@pytest.fixture
def bare(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """A machine that tells its memory and cores, has no OpenVINO, and nothing installed."""
    write(host, "/proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 7000000 kB\n")
    write(host, "/sys/devices/system/cpu/online", "0-1\n")
    write(host, "/proc/cpuinfo", "processor: 0\nmodel name: x\nflags: sse4_2\n\nprocessor: 1\nmodel name: x\nflags: sse4_2\n")  # fmt: skip
    broken = WorkerError("probe worker ended without an answer (SIGSEGV)", "Run it again.")
    host.processes.workers = {"probe": broken, "tiny": broken, "telemetry": broken}
    monkeypatch.setattr(host.network, "port_problem", lambda *_: None)
    monkeypatch.setattr("local_opus.cli.context.open_host", lambda: host)
    return host


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, CheckResult], str]:
    code = cli.main(["doctor", "--scope", "user", "--json", *words])
    found = capsys.readouterr()
    document = json.loads(found.out) if found.out else {"results": []}
    if document["results"]:
        jsonschema.validate(document, json.loads(report.schema_text()))
    results = [CheckResult.model_validate(one) for one in document["results"]]
    return code, {one.id: one for one in results}, found.err


def tree(host: FakeHost) -> list[str]:
    return sorted(str(path) for path in Path(host.root).rglob("*"))


INSTALLED_ONLY = {"receipt", "drift", "environment", "upgrade-room", "weights", "memory", "disk",
                  "config", "unit", "server"}  # fmt: skip


def test_with_nothing_installed_those_checks_say_so_and_nothing_is_made(bare, capsys):
    before = tree(bare)
    code, found, _ = run(capsys)
    assert tree(bare) == before
    assert code == 3  # OpenVINO crashes
    for id_ in INSTALLED_ONLY:
        assert found[id_].state is CheckState.NOT_APPLICABLE, found[id_]
        assert found[id_].evidence
    assert found["facts"].state is CheckState.WARN
    assert found["port"].state is CheckState.PASS
    assert not any("broke" in one.evidence for one in found.values())


def test_with_proc_hidden_the_facts_fail_alone(bare, capsys):
    bare.files.remove_tree("/proc")
    bare.files.remove_tree("/sys")
    code, found, _ = run(capsys)
    assert code == 3
    assert found["facts"].state is CheckState.FAIL
    for id_ in ("devices", "foreign", "governor", "limits", "swap", "huge-pages"):
        assert found[id_].state is CheckState.NOT_APPLICABLE, found[id_]
    assert not any("broke" in one.evidence for one in found.values())


def test_an_installed_home_whose_receipt_is_garbage(bare, places: Locations, capsys):
    install(bare)
    path = Path(bare.root + places.receipt)
    path.write_bytes(b"\x00\xff" * 500 + b"\n")
    code, found, _ = run(capsys)
    assert (code, found["receipt"].state) == (3, CheckState.FAIL)
    assert not any("broke" in one.evidence for one in found.values())
    assert path.read_bytes() == b"\x00\xff" * 500 + b"\n"


OF_FACTS = ("devices", "foreign", "facts", "limits", "governor", "throttling", "swap", "huge-pages")


@pytest.mark.parametrize("name", MACHINES)
def test_every_recorded_machine_gets_its_answers(tmp_path, name, monkeypatch):
    host = machine_host(tmp_path, MACHINES[name])
    host.environ = {"HOME": "/home/user"}
    # This host is a folder of files: no worker runs on it but the scripted probe.
    monkeypatch.setattr(
        "local_opus.checks.devices.try_device", lambda _host, device, _s: untried(device)
    )
    registry = [check for check in checks.REGISTRY if check.id in OF_FACTS]
    found = doctor.examine(host, locate(Scope.USER, host.environ), registry=registry)
    ids = {one.id for one in found.results}
    assert {"device-cpu", "foreign", "facts", "limits", "governor", "swap", "huge-pages"} <= ids
    assert len(ids) == len(found.results)
    for one in found.results:
        assert "broke" not in one.evidence.partition(": ")[0], one
        assert one.evidence.isprintable(), one
        assert (one.fix is not None) or one.state is not CheckState.FAIL, one
    jsonschema.validate(report.diagnosis_json(found), json.loads(report.schema_text()))


def untried(device: str) -> TinyInference:
    return TinyInference(device=device, ran_on=None, right=False, problem="not here", seconds=0)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--yes",), "they go with --fix"),
        (("--dry-run",), "they go with --fix"),
        (("--fix", "--as-service"), "one at a time"),
        (("--fix",), "not a terminal, and no --yes"),
        (("--scope", "planet"), "planet"),
        (("--fixx",), "No such option"),
    ],
)
def test_words_that_make_no_sense_ask_nothing(bare, capsys, words, says):
    bare.processes.calls.clear()
    code = cli.main(["doctor", *words])
    assert (code, says in capsys.readouterr().err) == (2, True)
    assert bare.processes.calls == []


def test_variables_that_are_meant_for_other_commands_stop_nothing(bare, capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_OPUS_YES", "1")
    monkeypatch.setenv("LOCAL_OPUS_DRY_RUN", "1")
    code, found, _ = run(capsys)
    assert (code, "facts" in found) == (3, True)


def test_as_service_without_systemd_can_not_be(bare, capsys):
    code = cli.main(["doctor", "--scope", "user", "--as-service"])
    assert (code, "--as-service: no systemd runs here" in capsys.readouterr().err) == (4, True)


def test_as_service_without_a_unit_can_not_be(bare, capsys):
    bare.services.runs = True
    bare.services.values = {"LoadState": "not-found"}
    code = cli.main(["doctor", "--scope", "user", "--as-service"])
    says = "local-opus.service is not installed (not-found)"
    assert (code, says in capsys.readouterr().err) == (4, True)


def test_a_check_of_the_registry_can_be_asked_alone(bare, places):
    found = doctor.examine(bare, places, registry=[checks.REGISTRY[-1]])
    assert [one.id for one in found.results] == ["port"]


def test_the_shell_completes_the_command_and_its_options():
    import click
    from click.shell_completion import BashComplete

    complete = BashComplete(cli.group, {}, "local-opus", "_X")
    assert [one.value for one in complete.get_completions([], "doc")] == ["doctor"]
    options = {one.value for one in complete.get_completions(["doctor"], "--")}
    assert {
        "--fix",
        "--as-service",
        "--canary",
        "--json",
        "--scope",
        "--yes",
        "--dry-run",
    } <= options
    assert isinstance(cli.group, click.Group)

"""The examples and docs/unattended.md: what they say is run, not believed."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from local_opus import __version__, answers, cli
from local_opus.answers import Answers
from local_opus.errors import ExitCode
from local_opus.report import events

#: Where the examples say that the checkout lies, and the answers.
SOURCE = "/opt/src/local-opus"
ANSWERS = "/etc/local-opus-answers.toml"


@pytest.fixture
def examples(checkout: Path) -> Path:
    return checkout / "examples"


def planned(
    capsys: pytest.CaptureFixture[str], words: Sequence[str], file: Path, image: Path
) -> dict[str, object]:
    """Run an example's command as a dry run into an image; return the plan that it prints."""
    assert words[1] == f"{SOURCE}/installer"
    assert Path(words[0]).name == "python3"
    ours = [str(file) if word == ANSWERS else word for word in words[2:]]
    assert str(file) in ours
    image.mkdir(exist_ok=True)
    code = cli.main([*ours, "--root", str(image), "--dry-run"])
    out, err = capsys.readouterr()
    assert code == 0, err
    for line in out.splitlines():
        events.read(line)
    assert list(image.iterdir()) == []
    found: dict[str, object] = json.loads(out.splitlines()[-1])
    assert found["event"] == "plan"
    return found


def table(checkout: Path, heading: str) -> list[list[str]]:
    """Return the cells of the table below a heading of the document."""
    text = (checkout / "docs" / "unattended.md").read_text()
    part = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


# --- answers.toml


def test_the_answers_lead_to_a_plan(examples, capsys, tmp_path):
    words = ("python3", f"{SOURCE}/installer", "install", "--answers", ANSWERS, "--json")
    plan = planned(capsys, words, examples / "answers.toml", tmp_path / "image")
    assert (plan["profile"], plan["model"], plan["scope"]) == (
        "local-opus", "smollm2-135m", "system",
    )  # fmt: skip


def test_every_key_stands_in_the_example_and_holds_when_it_counts(examples):
    text = (examples / "answers.toml").read_text()
    whole = re.sub(r"(?m)^# (?=\w+ = )", "", text)
    found = answers.parse(whole.encode(), "answers.toml")
    assert found.model_fields_set == set(Answers.model_fields) - {"schema_version"}


# --- cloud-init.yaml


@pytest.fixture
def cloud(examples: Path) -> dict[str, list[object]]:
    found: dict[str, list[object]] = yaml.safe_load((examples / "cloud-init.yaml").read_text())
    return found


def test_cloud_init_reads_it_as_a_configuration(examples):
    assert (examples / "cloud-init.yaml").read_text().startswith("#cloud-config\n")


@pytest.mark.skipif(shutil.which("cloud-init") is None, reason="no cloud-init here")
def test_cloud_init_finds_no_fault(examples):
    command = ["cloud-init", "schema", "--config-file", str(examples / "cloud-init.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_cloud_inits_files_and_commands_lead_to_a_plan(cloud, capsys, tmp_path):
    (written,) = cloud["write_files"]
    assert isinstance(written, dict)
    assert written["path"] == ANSWERS
    file = tmp_path / "answers.toml"
    file.write_text(written["content"])
    (words,) = cloud["runcmd"]
    assert isinstance(words, list)
    plan = planned(capsys, words, file, tmp_path / "image")
    assert (plan["profile"], plan["model"], plan["scope"]) == (
        "local-opus", "smollm2-135m", "system",
    )  # fmt: skip
    assert answers.parse(file.read_bytes(), "answers.toml").yes is True


# --- preseed.cfg and its unit


def late_command(examples: Path) -> str:
    """Return the command as Debian's installer hands it to a shell: its lines joined."""
    joined = (examples / "preseed.cfg").read_text().replace("\\\n", "")
    settings = [line for line in joined.splitlines() if line and not line.startswith("#")]
    for line in settings:
        assert re.match(r"d-i [a-z]+/[a-z_]+ string +\S", line), line
    (command,) = [line for line in settings if line.startswith("d-i preseed/late_command ")]
    return command.removeprefix("d-i preseed/late_command string ")


def exec_start(unit: Path) -> list[str]:
    found = configparser.ConfigParser(interpolation=None)
    found.optionxform = str  # type: ignore[assignment]
    found.read_string(unit.read_text())
    return shlex.split(found["Service"]["ExecStart"])


def test_the_late_command_is_sound_shell(examples):
    done = subprocess.run(
        ["sh", "-n"], input=late_command(examples), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("debconf-set-selections") is None, reason="no debconf here")
def test_debconf_finds_no_fault(examples):
    command = ["debconf-set-selections", "--checkonly", str(examples / "preseed.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemctl") is None, reason="no systemctl here")
def test_the_late_command_prepares_the_first_boot(examples, checkout, capsys, tmp_path):
    target, medium, tools = tmp_path / "target", tmp_path / "cdrom", tmp_path / "tools"
    for folder in (target / "etc/systemd/system", target / "opt", medium / "local-opus", tools):
        folder.mkdir(parents=True)
    shutil.copytree(examples, medium / "local-opus/examples")
    shutil.copy(checkout / "installer", medium / "local-opus")
    # What Debian's installer offers: runs a command inside of the new system.
    stand_in = tools / "in-target"
    stand_in.write_text(f'#!/bin/sh\n[ "$1" = systemctl ] && shift && exec systemctl --root={target} "$@"\n')  # fmt: skip
    stand_in.chmod(0o755)
    command = late_command(examples).replace("/target/", f"{target}/").replace("/cdrom/", f"{medium}/")  # fmt: skip
    done = subprocess.run(
        ["sh", "-c", command], env={"PATH": f"{tools}:/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    unit = target / "etc/systemd/system/local-opus-install.service"
    wanted = target / "etc/systemd/system/multi-user.target.wants/local-opus-install.service"
    assert wanted.is_symlink()
    words = exec_start(unit)
    assert (target / words[1].lstrip("/")).is_file()
    assert (target / ANSWERS.lstrip("/")).read_bytes() == (examples / "answers.toml").read_bytes()
    plan = planned(capsys, words, target / ANSWERS.lstrip("/"), tmp_path / "image")
    assert plan["profile"] == "local-opus"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_finds_no_fault_in_the_unit(examples):
    unit = examples / "local-opus-install.service"
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, ours) == (0, [])


def test_the_unit_repeats_what_can_get_better(examples):
    """Also MACHINE_CANNOT: without a network, the right time or room on the disk it is that."""
    (line,) = re.findall(
        r"RestartPreventExitStatus=(.*)", (examples / "local-opus-install.service").read_text()
    )
    assert {int(code) for code in line.split()} == {ExitCode.BAD_INPUT}


# --- docs/unattended.md


def test_the_document_names_every_key(checkout):
    keys = [row[0].strip("`") for row in table(checkout, "Answers")]
    assert keys == [field.alias or name for name, field in Answers.model_fields.items()]


def test_the_document_names_every_event_in_order(checkout):
    names = re.findall(r"`(\w+)`", " ".join(row[0] for row in table(checkout, "JSON lines")))
    schema = json.loads(events.schema_text())
    assert sorted(names) == sorted(schema["discriminator"]["mapping"])


def test_the_document_names_every_exit_code(checkout):
    assert [int(row[0]) for row in table(checkout, "Exit codes")] == [int(code) for code in ExitCode]  # fmt: skip


def test_the_document_has_a_script_repeat_what_the_unit_repeats(checkout):
    again = [int(row[0]) for row in table(checkout, "Exit codes") if "tries again" in row[2]]
    assert again == [ExitCode.FAILED, ExitCode.MACHINE_CANNOT]


def test_the_documents_lines_are_what_is_printed(checkout, capsys, tmp_path, monkeypatch):
    text = (checkout / "docs" / "unattended.md").read_text()
    shown = [json.loads(line) for line in text.splitlines() if line.startswith("    {")]
    monkeypatch.chdir(tmp_path)
    Path("answers.toml").write_text("prt = 8000\n")
    assert cli.main(["--answers", "answers.toml", "--json"]) == 2
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [{**line, "program": __version__} if "program" in line else line for line in shown] == printed  # fmt: skip

"""The first command in an empty home, and everything that can be typed after it."""

from __future__ import annotations

import json
import re
import resource
import subprocess
from pathlib import Path

import pytest
from node_program import GGUF, MODEL, FirstInstall, Program, tree
from openai import OpenAI


@pytest.fixture(scope="module")
def program(first_install: FirstInstall) -> Program:
    return first_install.program


def server_pid(program: Program) -> int:
    return int(json.loads((program.state / "run/server.pid").read_text())["pid"])


def test_it_prints_what_works_and_how_that_was_seen(first_install, program):
    said = first_install.said
    for wanted in (
        rf"endpoint +http://127\.0\.0\.1:{program.port}/v1",
        rf"model +{MODEL}: this model answers, and no other",
        r"verified +7 files by size, sha256 and structure \(derived, pinned\)",
        r"speed +[1-9]\d*\.?\d* tokens/s",
        r'local-opus chat "What is the capital of France\?"',
        r"canary +mean log-probability -\d",
        r"~/\.local/bin/local-opus status",
        r"~/\.local/bin/local-opus uninstall",
    ):
        assert re.search(wanted, said), wanted


def test_the_same_command_again_says_no_changes_within_two_seconds(program):
    before, pid = tree(program.home), server_pid(program)
    # Time of processors: other tests share them. What it waits for is a moment of the server's.
    begin = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = program.install().stdout
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert said.splitlines()[-1] == "no changes"
    assert end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime < 2
    assert tree(program.home) == before
    assert server_pid(program) == pid
    assert len(program.processes()) == 2  # the server and its engine


def test_the_openai_client_gets_an_answer_from_the_model_that_really_runs(program):
    with OpenAI(base_url=f"http://127.0.0.1:{program.port}/v1", api_key="none") as client:
        answer = client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "What is the capital of France?"}],
            temperature=0,
            max_tokens=12,
        )
        assert [model.id for model in client.models.list()] == [MODEL]
    assert answer.model == MODEL
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens <= 12


def test_the_installed_command_chats_without_the_checkout(program):
    command = program.home / ".local/bin/local-opus"
    environ = {"HOME": str(program.home), "PATH": "/usr/bin:/bin", "PYTHONPATH": "/nowhere"}
    words = ["chat", "--temperature", "0", "--max-tokens", "12", "What is the capital of France?"]
    done = subprocess.run(
        [str(command), *words], env=environ, cwd="/", capture_output=True, text=True, check=True
    )
    assert "Paris" in done.stdout
    assert done.stderr == ""


def test_nothing_that_runs_knows_the_checkout(program):
    for pid in program.processes():
        seen = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline", "maps")]
        assert str(program.checkout).encode() not in b"".join(seen)


def test_chat_reads_a_question_from_a_pipe(program):
    environ = {**program.environ}
    done = subprocess.run(
        [str(program.home / ".local/bin/local-opus"), "chat", "--temperature", "0", "--max-tokens", "12"],
        input="What is the capital of France?\n", env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Paris" in done.stdout


def test_status(program):
    found = json.loads(program.run("status", "--json").stdout)
    assert (found["running"], found["ready"], found["model"]) == (True, True, MODEL)
    assert found["pid"] == server_pid(program)
    assert found["url"] == f"http://127.0.0.1:{program.port}"
    assert "no systemd" in found["sandbox"]["verdict"]
    assert f"PID {found['pid']}" in program.run("status").stdout


@pytest.mark.parametrize("words", [("--quick",), (MODEL, "--canary")])
def test_verify_proves_every_file(program, words):
    found = json.loads(program.run("verify", *words, "--json").stdout)
    assert [folder["worst"] for folder in found["folders"]] == ["real", "real"]
    trust = {file["trust"] for folder in found["folders"] for file in folder["files"]}
    assert trust == {"pinned", "derived"}
    if "--canary" in words:
        low, high = found["canary"]["canary_band"]
        assert low <= found["canary"]["canary"] <= high


def test_receipt(program):
    records = json.loads(program.run("receipt", "--json").stdout)
    assert [record["n"] for record in records] == list(range(1, len(records) + 1))
    assert records[-1]["event"] == "finished"
    assert records[-1]["data"]["model"] == MODEL
    text = program.run("receipt").stdout
    assert "checksums right, complete" in text
    assert "done         convert smollm2-135m from GGUF to OpenVINO IR for CPU" in text


def test_logs(program):
    assert f"serving {MODEL} on http://127.0.0.1:{program.port}" in program.run("logs").stdout
    assert len(program.run("logs", "-n", "1").stdout.splitlines()) == 1


def test_models_list_shows_what_is_stored(program):
    listed = json.loads(program.run("models", "list", "--json").stdout)
    text = json.dumps(listed)
    assert MODEL in text
    shown = program.run("models", "show", MODEL).stdout
    assert "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53" in shown
    assert "Apache-2.0" in shown


def test_the_served_model_can_not_be_removed(program):
    done = program.run("models", "remove", MODEL, "--yes", code=1)
    assert "the installed server loads it" in done.stderr
    assert (program.prefix / GGUF).exists()


def test_configs_and_scripts_are_there(program):
    names = {path.name for path in program.config.iterdir()}
    of_server = {"model.json", "generation.json", "openvino.json", "server.json"}
    assert names == of_server | {"posture.env", "machine.json", "monitor.json", "baseline.json"}
    for path in program.config.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        if path.suffix == ".json":
            assert json.loads(path.read_text())["schema_version"] == 1
    for name in ("start_local_opus.sh", "monitor_opus_servers.sh", "launch_local_system.sh"):
        subprocess.run(["sh", "-n", str(program.prefix / "bin" / name)], check=True)
    done = subprocess.run(
        [str(program.prefix / "bin/launch_local_system.sh")],
        env={"HOME": str(program.home), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"runs already: http://127.0.0.1:{program.port}" in done.stdout


def test_dry_run_changes_nothing(program):
    before = tree(program.home)
    words = ("--local-opus", "--model", MODEL, "--port", "8000", "--dry-run")
    lines = [json.loads(line) for line in program.run(*words, "--json").stdout.splitlines()]
    (plan,) = [line for line in lines if line["event"] == "plan"]
    assert plan["model"] == MODEL
    assert [action["id"] for action in plan["actions"]][-2:] == ["server", "baseline"]
    assert tree(program.home) == before


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("local-opus ", "chat"),
        ("local-opus st", "status"),
        ("local-opus models ", "pull"),
        ("local-opus --loc", "--local-opus"),
        ("local-opus install --dry", "--dry-run"),
        ("local-opus completion f", "fish"),
    ],
)
def test_bash_completes(program, tmp_path, typed, offered):
    script = tmp_path / "completion"
    script.write_text(program.run("completion", "bash").stdout)
    subprocess.run(["bash", "-n", str(script)], check=True)
    asked = f'. {script}; COMP_WORDS=({typed}); [[ "{typed}" == *" " ]] && COMP_WORDS+=(""); '
    asked += "COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _local_opus_completion local-opus; "
    asked += 'printf "%s\\n" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "--norc", "-c", asked],
        env={"HOME": str(program.home), "PATH": f"{program.home}/.local/bin:/usr/bin:/bin"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert offered in done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_completion_of_other_shells(program, shell):
    said = program.run("completion", shell).stdout
    assert "_LOCAL_OPUS_COMPLETE" in said
    assert f"{shell}_complete" in said


def test_stop_and_start(program):
    pid = server_pid(program)
    assert f"Stopped (PID {pid})." in program.run("stop").stdout
    assert program.processes() == {}
    assert program.run("stop").stdout == "No server was running.\n"
    found = json.loads(program.run("status", "--json", code=3).stdout)
    assert (found["running"], found["ready"]) == (False, False)
    done = program.run("chat", "hello", code=1)
    assert "Start the server" in done.stderr
    assert f"http://127.0.0.1:{program.port}" in program.run("start").stdout
    assert "runs already" in program.run("start").stdout
    assert server_pid(program) != pid


def test_stop_spares_a_stranger_that_got_the_number(program):
    recorded = program.state / "run/server.pid"
    real = recorded.read_bytes()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            started = json.loads(real)["started"]
            recorded.write_text(json.dumps({"pid": stranger.pid, "started": started}))
            assert program.run("stop").stdout == "No server was running.\n"
            assert stranger.poll() is None
        finally:
            stranger.kill()
            recorded.write_bytes(real)
    assert json.loads(program.run("status", "--json").stdout)["ready"] is True

"""An install that is tuned, and `tune`: what is written, used, interrupted, edited and taken back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from node_program import MODEL, Program

from local_opus import sealed
from local_opus.tuning import tuned

#: Keeps a result as `tune` does, without waiting for a measurement that finds one.
KEEP = """
from local_opus.tuning import retune, tuner
from local_opus.cli.context import find_install, open_host
from local_opus.tuning import Outcome
from local_opus.values.tuning import Chosen
host = open_host()
places = find_install(host, None)
order = retune.wanted(host, places, goal=None, seconds=30).order
holds_for = order.holds_for(tuner.weights_digest(host, order))
outcome = Outcome(chosen=Chosen(properties={"INFERENCE_NUM_THREADS": 1}))
retune.keep(host, places, order, tuner.result(host, order, holds_for, outcome, 1.0))
"""


PROFILE = """
name = "quick"
description = "A few seconds for tuning"
extends = "local-opus"

[tuning]
seconds = 12
"""


@pytest.fixture(scope="module")
def program(seeded) -> Program:
    """An install that was tuned, with its server running."""
    found: Program = seeded("gguf-q4_1", "cpu-q4_1")
    (found.home / "quick.toml").write_text(PROFILE)
    install(found)
    return found


def words(program: Program) -> tuple[str, ...]:
    profile = str(program.home / "quick.toml")
    return ("--profile", profile, *program.install_words("--tune")[1:])


def install(program: Program) -> str:
    return program.run(*words(program)).stdout


def status(program: Program, code: int = 0) -> dict[str, object]:
    found: dict[str, object] = json.loads(program.run("status", "--json", code=code).stdout)
    return found


def keep(program: Program) -> None:
    subprocess.run(
        [sys.executable, "-s", "-P", "-c", KEEP], env=program.environ, check=True, timeout=120
    )


def test_an_install_writes_what_it_measured(program):
    path = program.config / "tuned.json"
    found = tuned.parse(path.read_text(), str(path))
    assert found.tuned_for.model == MODEL
    assert found.seconds < 14
    assert not sealed.is_edited(found)
    assert path.stat().st_mode & 0o777 == 0o600
    receipt = json.loads(program.run("receipt", "--json").stdout)
    (done,) = [one for one in receipt if one["event"] == "done" and one["id"] == "tuning"]
    assert done["data"]["chosen"] == found.chosen.model_dump()
    assert set(done["data"]["tried"]) == {row.setting for row in found.tried}
    assert status(program)["tuned"] == tuned.in_words(found)


def test_the_same_again_changes_nothing(program):
    assert "no changes" in install(program)


def test_what_would_be_tried_is_shown_and_nothing_measured(program):
    before = (program.config / "tuned.json").read_bytes()
    said = program.run("tune", "--dry-run").stdout
    assert "INFERENCE_NUM_THREADS" in said
    assert "enable_prefix_caching=True (measured, never chosen)" in said
    assert (program.config / "tuned.json").read_bytes() == before


def test_no_server_is_stopped_where_openvino_can_not_be_asked(program):
    (package,) = program.prefix.glob("env-*/lib/python*/site-packages/openvino")
    before = status(program)["pid"]
    package.rename(f"{package}.away")
    try:
        said = program.run("tune", "--seconds", "5", code=4).stderr
        assert "openvino package is not installed" in said
        assert "not installed" in program.run("tune", "--dry-run", code=4).stderr
    finally:
        package.with_name("openvino.away").rename(package)
    assert status(program)["pid"] == before


def test_the_server_takes_what_was_chosen_and_gives_it_back(program):
    keep(program)
    assert status(program)["tuned"] == "INFERENCE_NUM_THREADS=1"
    assert "no changes" in install(program)
    assert "back to the defaults" in program.run("tune", "--reset").stdout
    assert str(status(program)["tuned"]).startswith("the defaults: taken back")
    assert "no changes" in program.run("tune", "--reset").stdout


def test_ctrl_c_keeps_what_was_set_and_the_server_runs_again(program):
    keep(program)
    before = (program.config / "tuned.json").read_bytes()
    child = program.start("tune", "--seconds", "120")
    program.wait_for_processes(lambda found: any("runtime.tune" in one for one in found.values()))
    assert any("runtime.tune" in one for one in program.processes().values())
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=120)
    assert child.returncode == 130, err
    assert (program.config / "tuned.json").read_bytes() == before
    assert status(program)["tuned"] == "INFERENCE_NUM_THREADS=1"
    assert not any("runtime.tune" in one for one in program.processes().values())


def test_it_ends_within_its_time_and_the_server_runs_again(program):
    begin = time.monotonic()
    with program.start("tune", "--seconds", "15", "--json") as child:
        out, err = child.communicate(timeout=120)
    if child.returncode == 1:  # a machine with other work, or too slow: told, and nothing kept
        assert "error: tune: " in err or '"event": "error"' in out
    else:
        assert child.returncode == 0, err
        assert json.loads(out)["seconds"] <= 16
    # Beside measuring: facts, the server's end, and its start.
    assert time.monotonic() - begin < 15 + 60
    assert status(program)["ready"] is True


def test_nonsense_is_named_and_nothing_is_lost(program):
    keep(program)
    path = program.config / "tuned.json"
    sound = path.read_text()
    foreign = sound.replace("INFERENCE_NUM_THREADS", "NPU_TURBO")
    program.run("stop")
    path.write_text("{")
    said = program.run("start").stdout
    assert "Warning: " in said  # the last good settings are served
    assert "tuned.json: the file: " in said
    for content, said, command in (
        ("{", "tuned.json: the file: ", words(program)),
        (foreign, "tuned.json: chosen.properties.NPU_TURBO: CPU has no", ("tune", "--dry-run")),
    ):
        path.write_text(content)
        err = program.run(*command, code=2).stderr
        assert said in err
        assert "fix: Correct the file, or remove it" in err
        assert path.read_text() == content
    path.write_text(sound)
    program.run("stop")
    program.run("start")
    assert status(program)["tuned"] == "INFERENCE_NUM_THREADS=1"


def test_an_edited_openvino_json_wins_and_is_not_tuned(program):
    keep(program)
    path = program.config / "openvino.json"
    sound = path.read_text()
    document = json.loads(sound)
    document["properties"]["INFERENCE_NUM_THREADS"] = 2
    path.write_text(json.dumps(document))
    said = program.run("tune", "--dry-run").stdout
    assert "INFERENCE_NUM_THREADS: left alone, it was set in openvino.json" in said
    assert "INFERENCE_NUM_THREADS=" not in said
    path.write_text(sound)


def test_an_edited_one_is_used_and_tune_does_not_lose_it(program):
    keep(program)
    path = program.config / "tuned.json"
    sound = path.read_text()
    content = sound.replace('"INFERENCE_NUM_THREADS": 1', '"INFERENCE_NUM_THREADS": 2')
    path.write_text(content)
    assert status(program)["tuned"] == "INFERENCE_NUM_THREADS=2 (edited)"
    for command in (("tune", "--seconds", "5"), ("tune", "--reset")):
        assert "edited since it was written" in program.run(*command, code=1).stderr
    assert path.read_text() == content
    path.write_text(sound)


def test_uninstall_takes_it_back(program):
    program.run("uninstall", "--yes", "--purge")
    assert not program.config.exists()

"""Damage and its repair, an update that fails, and the way back, after the first install."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from node_program import GGUF, MODEL, FirstInstall, Program, error_lines, tree


@pytest.fixture(scope="module")
def program(first_install: FirstInstall) -> Program:
    return first_install.program


def damage(path: Path, place: int) -> None:
    with path.open("r+b") as stream:
        stream.seek(place)
        byte = stream.read(1)
        stream.seek(place)
        stream.write(bytes([byte[0] ^ 1]))


def verdicts(program: Program, target: str) -> set[str]:
    found = json.loads(program.run("verify", target, "--json", code=3).stdout)
    return {folder["worst"] for folder in found["folders"]}


def test_verify_tells_damage_of_a_stored_model(program):
    path = program.prefix / GGUF
    damage(path, 50_000_000)
    assert verdicts(program, MODEL) == {"real", "corrupt"}
    assert verdicts(program, str(path)) == {"corrupt"}
    os.truncate(path, 1_000_000)
    assert verdicts(program, MODEL) == {"real", "truncated"}


def test_the_server_refuses_damaged_weights(program):
    program.run("stop")
    damage(program.prefix / f"models/{MODEL}/cpu-q4_1/openvino_model.bin", 1_000_000)
    done = program.run("start", code=1)
    assert "the server ended while it started" in done.stderr
    assert "openvino_model.bin: corrupt" in program.run("logs").stdout
    assert program.processes() == {}


def test_the_same_command_repairs_what_is_broken_and_no_more(program):
    (program.prefix / "bin/start_local_opus.sh").unlink()
    lines = [json.loads(line) for line in program.install("--json").stdout.splitlines()]
    finished = [line["step"] for line in lines if line["event"] == "finished"]
    assert finished == ["weights", "variant", "script:start_local_opus.sh", "server", "self-test"]
    assert (program.prefix / "bin/start_local_opus.sh").stat().st_mode & 0o777 == 0o755
    program.run("verify", MODEL)
    assert json.loads(program.run("status", "--json").stdout)["ready"] is True


def test_verify_repairs_what_is_bad_and_no_more(program):
    """A changed bit, and a manifest that was changed to fit it: the receipt knows better."""
    model = program.prefix / f"models/{MODEL}"
    gguf = model / "gguf-q4_1" / GGUF.rpartition("/")[2]
    before = gguf.stat()
    damage(model / "cpu-q4_1/openvino_model.bin", 2_000_000)
    with (model / "gguf-q4_1/weights.json").open("ab") as stream:
        stream.write(b" ")
    found = json.loads(program.run("verify", MODEL, "--json", code=3).stdout)["folders"]
    bad = {file["path"]: file for folder in found for file in folder["files"] if file["verdict"] != "real"}  # fmt: skip
    assert {path: file["verdict"] for path, file in bad.items()} == {
        "openvino_model.bin": "corrupt",
        "weights.json": "corrupt",
    }
    assert bad["openvino_model.bin"]["where"] == "weights.json, bytes 0-16777215"
    assert bad["weights.json"]["where"] == "the receipt"
    said = program.run("verify", MODEL, "--repair").stdout
    assert "repaired: openvino_model.bin" in said
    assert "repaired: weights.json" in said
    assert (gguf.stat().st_ino, gguf.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert all(
        folder["manifest"]["attested_sha256"]
        for folder in json.loads(program.run("verify", MODEL, "--json").stdout)["folders"]
    )
    assert json.loads(program.run("status", "--json").stdout)["ready"] is True


def test_a_failed_update_leaves_the_old_one_serving(program, broken_profile, tmp_path):
    before = tree(program.home)
    words = (
        "--profile",
        str(broken_profile),
        "--model",
        MODEL,
        "--port",
        str(program.port),
        "--yes",
    )
    done = program.run(*words, code=1, TMPDIR=str(tmp_path))
    assert "the engine failed" in done.stderr
    assert "not taken back" not in done.stderr
    after = tree(program.home)
    differ = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert differ == {f".local/state/local-opus/{name}"
                      for name in ("receipt.jsonl", "receipt.head", "log/server.log", "run/server.pid")}  # fmt: skip
    assert json.loads(program.run("status", "--json").stdout)["ready"] is True
    assert program.install().stdout.splitlines()[-1] == "no changes"


def test_a_config_edited_to_what_can_not_be_stops_an_install_before_it_begins(program):
    path = program.config / "generation.json"
    good = path.read_text()
    edited = re.sub(r'"temperature": [0-9.]+', '"temperature": 9', good)
    assert edited != good
    for text, said in ((edited, "temperature: "), ("{", "the file: ")):
        path.write_text(text)
        (program.prefix / "bin/start_local_opus.sh").unlink(missing_ok=True)
        before = tree(program.home)
        for words in (program.install_words(), ("chat", "hello"), ("verify", MODEL, "--canary")):
            what, remedy = error_lines(program.run(*words, code=2))
            assert what.startswith(f"error: {path}: {said}")
            assert "Correct the file, or remove it and install again" in remedy
        assert f" {path}: {said}" in program.run("status").stdout
        assert tree(program.home) == before
    path.unlink()
    program.install()
    assert path.read_text() == good


def test_uninstall_takes_back_all_but_what_the_user_edited(first_install, program):
    edited = program.config / "generation.json"
    edited.write_text(edited.read_text().replace("0.7", "0.2"))
    said = program.install().stdout
    assert said.count("no changes") == 1
    assert "generation.json: edited since it was written" in said
    said = program.run("uninstall", "--purge", "--yes").stdout
    assert "generation.json: edited since it was written" in said
    assert "GiB" not in said
    assert program.processes() == {}
    left = tree(program.home)
    for path in (edited, program.config):
        del left[str(path.relative_to(program.home))]
    assert left == first_install.before
    assert '"temperature": 0.2' in edited.read_text()


def test_after_that_nothing_is_installed(program):
    assert "Nothing was installed" in program.run("uninstall", "--purge", "--yes").stdout
    found = json.loads(program.run("status", "--json", code=3).stdout)
    assert (found["installed"], found["running"]) == (False, False)
    for words in (("receipt",), ("start",), ("chat", "hello"), ("logs",)):
        assert "fix: " in program.run(*words, code=1).stderr

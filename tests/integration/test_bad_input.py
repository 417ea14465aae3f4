"""Bad words, files and machines: two clear lines, the right exit code, nothing changed."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_program import MODEL, Program, error_lines, tree

from builders import PLACEHOLDER, gguf_bytes

NOBODY = 65534


@pytest.fixture
def program(checkout_copy: Path, tmp_path: Path, _pip_cache: str) -> Iterator[Program]:
    program = Program(checkout_copy, tmp_path / "person", _pip_cache)
    (program.home / "kept").write_text("mine")
    before = tree(program.home)
    yield program
    assert tree(program.home) == before
    assert program.processes() == {}


BAD_WORDS = [
    (("instal",), 'instal: no such command. Did you mean "install"?'),
    (("--modle", "x"), "--modle"),
    (("--local-opus", "--model", "smollm2-135n", "--yes"), f'Did you mean "{MODEL}"?'),
    (("--local-opus", "--model", "../../x", "--yes"), "../../x"),
    (("--local-opus", "--model", "", "--yes"), "model"),
    (("--profile", "militray", "--yes"), 'Did you mean "military"?'),
    (("--profile", "nowhere.toml", "--yes"), '"nowhere.toml": No such file'),
    (("--profile", ".", "--yes"), "profile"),
    (("--local-opus", "--device", "GPUU", "--yes"), 'Did you mean "GPU"?'),
    (("--local-opus", "--device", "GPU.x", "--yes"), "--device GPU.x: no such device"),
    (("models", "list", "--device", "NPU.0"), 'Did you mean "NPU"?'),
    (("--local-opus", "--use-case", "codding", "--yes"), 'Did you mean "coding"?'),
    (("--local-opus", "--hybrid", "--yes"), "profiles local-opus and hybrid: choose one"),
    (("--local-opus", "--profile", "military", "--yes"), "choose one"),
    (("--model", MODEL, "--yes"), "the profile military installs no model"),
    (("--external-api", "--device", "GPU", "--yes"), "--device: the profile external-api"),
    (("--profile", "military", "--port", "9000", "--yes"), "--port: the profile military"),
    (("--local-opus", "--port", "0", "--yes"), "--port"),
    (("--local-opus", "--port", "80a", "--yes"), "--port"),
    (("--scope", "sytem", "--yes"), "--scope"),
    (("--root", "/nowhere/at all", "--yes"), "there is no such folder"),
    (("--root", "/etc/passwd", "--yes"), "is no folder"),
    (("verify", "smollm2-135n"), f'Did you mean "{MODEL}"?'),
    (("verify", "/nowhere"), "/nowhere"),
    (("models", "show", "smollm2"), f'Did you mean "{MODEL}"?'),
    (("models", "pull", "../../x"), "../../x"),
    (("models", "remove", "../../x", "--yes"), "../../x"),
    (("models", "pin", "one"), "one: no file, no folder and no repository"),
    (("models", "pin", "../../x"), "../../x"),
    (("models", "pin", "https://a.example/x.gguf"), "--size and --sha256 must be given"),
    (("models", "pin", "org/name", "--replace"), "--replace: says nothing without --save"),
    (("models", "pin", "org/name", "--id", "smollm2-135m"), "own catalog has a model of this id"),
    (("completion", "tcsh"), "tcsh"),
    (("logs", "-n", "0"), "0"),
]


@pytest.mark.parametrize(
    ("words", "said"), BAD_WORDS, ids=[" ".join(item[0]) for item in BAD_WORDS]
)
def test_words(program, words, said):
    lines = error_lines(program.run(*words, code=2))
    assert said in lines[0]
    assert len(lines) == 2


@pytest.mark.parametrize("words", [(), ("--local-opus",), ("uninstall",)])
def test_no_terminal_and_no_yes(program, words):
    lines = error_lines(program.run(*words, code=2))
    assert "not a terminal, and no --yes" in lines[0]
    assert "--yes" in lines[1]


def test_a_profile_with_three_errors_shows_all_three(program, tmp_path):
    profile = tmp_path / "three.toml"
    profile.write_text(
        'name = "three"\ndescription = "x"\nextends = "local-opus"\n'
        '[server]\nport = "8000"\nhots = "127.0.0.1"\n[model]\ndevice = "TPU"\n'
    )
    lines = error_lines(program.run("--profile", str(profile), "--yes", code=2))
    assert f"{profile}: 3 errors" in lines[0]
    assert len(lines) == 5
    assert 'server.hots: unknown key. Did you mean "host"?' in "".join(lines)
    assert "server.port: " in "".join(lines)
    assert "model.device: " in "".join(lines)


def test_a_profile_file_is_found_from_the_working_folder(program, checkout_copy):
    # A copy that is known by a relative path; the run must get as far as the plan.
    name = os.path.relpath(checkout_copy / "profiles/external-api.toml", program.home)
    assert "profile external-api" in program.run("--profile", name, "--dry-run").stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_system_scope_without_root(program):
    # The tests lie where nobody else may go, so that right stays, and that one alone.
    keep = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    user = ("--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")
    program.enter = ("setpriv", *user, *keep)
    lines = error_lines(program.run("--scope", "system", "--yes", code=2))
    assert "--scope system: needs root" in lines[0]
    assert "--scope user" in lines[1]


def test_no_home_in_user_scope(program):
    lines = error_lines(program.run("--local-opus", "--yes", "--scope", "user", code=2, HOME=""))
    assert "HOME: not set" in lines[0]
    assert "XDG_DATA_HOME" in lines[1]


def test_no_home_does_not_hide_the_system_scope(program):
    found = json.loads(program.run("status", "--json", code=3, HOME="", LOCAL_OPUS_SCOPE="").stdout)
    assert found["scope"] == ("system" if os.geteuid() == 0 else "user")


def test_a_port_that_another_program_holds(program):
    with socket.create_server(("127.0.0.1", program.port)):
        lines = error_lines(program.install(code=4))
    assert f"port {program.port} on 127.0.0.1: address already in use" in lines[0]
    assert "--port" in lines[1]


@pytest.mark.parametrize("way", ["flag", "variable", "answers"])
def test_a_gpu_that_is_not_there_can_not_be_had(program, tmp_path, way):
    """Well named, and not on this machine: it can't, whoever asks for it."""
    words, variables = ["--local-opus", "--model", MODEL, "--yes"], {}
    if way == "flag":
        words += ["--device", "GPU.99"]
    elif way == "variable":
        variables = {"LOCAL_OPUS_DEVICE": "gpu.99"}
    else:
        (tmp_path / "a.toml").write_text('device = "GPU.99"\n')
        words += ["--answers", str(tmp_path / "a.toml")]
    lines = error_lines(program.run(*words, code=4, **variables))
    assert "GPU.99 not usable: " in lines[0]
    assert len(lines) == 2


def test_a_model_that_does_not_fit_tells_why(program):
    listed = json.loads(program.run("models", "list", "--json").stdout)
    models = listed["models"]
    (worst, *_) = [model for model in models if not model["fit"]["fits"]]
    lines = error_lines(program.run("--local-opus", "--model", worst["id"], "--yes", code=4))
    assert lines[0].startswith(f"error: {worst['id']}: ")
    assert "models list" in lines[-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "opus_npu_int8"
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "content", "verdict"),
    [
        ("model_weights.bin", PLACEHOLDER, "placeholder"),
        ("model_weights.bin", PLACEHOLDER.rstrip(), "placeholder"),
        ("model.gguf", b"", "placeholder"),
        ("model.gguf", gguf_bytes()[:-10], "truncated"),
        ("model.pkl", b"\x80\x04K\x01.", "unsafe"),
        ("README.md", b"# hello\n", "unproven"),
    ],
    ids=["55 bytes and a newline", "55 bytes", "empty", "cut", "pickle", "text"],
)
def test_verify_of_a_folder_that_was_never_installed(program, folder, name, content, verdict):
    (folder / name).write_bytes(content)
    done = program.run("verify", str(folder), "--json", code=3)
    (found,) = json.loads(done.stdout)["folders"]
    assert (found["worst"], found["proven"]) == (verdict, False)


def test_verify_shows_a_person_the_verdict(program, folder):
    (folder / "model_weights.bin").write_bytes(PLACEHOLDER)
    said = program.run("verify", str(folder), code=3).stdout
    assert f"{folder}: 1 placeholder" in said
    assert "# Synthetic weights for opus_npu_int8" in said


def test_verify_of_an_empty_store(program):
    lines = error_lines(program.run("verify", code=3))
    assert "no weights in the store" in lines[0]


def test_a_damaged_receipt_stops_everything_and_names_the_line(program):
    program.state.mkdir(parents=True)
    path = program.state / "receipt.jsonl"
    path.write_text('{"v": 1, "n": 1}\n')
    try:
        for words in (("--external-api", "--yes"), ("uninstall", "--yes"), ("receipt",)):
            lines = error_lines(program.run(*words, code=1))
            assert f"{path}:1: not a record of a receipt" in lines[0]
    finally:
        path.unlink()
        lock = program.state / "lock"
        lock.unlink(missing_ok=True)
        for made in (program.state, program.state.parent, program.state.parent.parent):
            made.rmdir()


def test_a_damaged_manifest_does_not_stop_the_way_back(program):
    folder = program.prefix / "models" / MODEL / "gguf-q4_1"
    folder.mkdir(parents=True)
    (folder / "weights.json").write_text("{")
    (folder / "mine.gguf").write_bytes(b"GGUF")
    partial = program.prefix / "models/other/.partial/ours"
    partial.mkdir(parents=True)
    (partial / "x").touch()
    (program.prefix / "models/another").mkdir()
    (program.prefix / "models/another/my partial notes").touch()
    try:
        said = program.run("uninstall", "--purge", "--yes").stdout
        assert f"models/{MODEL}: holds files that are not ours" in said
        assert (folder / "mine.gguf").exists()
        assert (program.prefix / "models/another/my partial notes").exists()
        assert not (program.prefix / "models/other").exists()
    finally:
        shutil.rmtree(program.home / ".local")

"""The self-test gates an install: a model that does not think as measured is taken back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable

import pytest
from node_program import MODEL, Program, error_lines, tree


def test_a_server_that_does_not_come_up_leaves_its_log(seeded, broken_profile, tmp_path):
    """The log and `logs` go with the roll-back; the error names what stays."""
    program = seeded("gguf-q4_1", "cpu-q4_1")
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
    what, remedy = error_lines(done)
    assert "the server ended while it started: " in what
    assert "the engine failed" in what
    (kept,) = tmp_path.glob("local-opus-server-*.log")
    assert remedy.endswith(f"; what the server printed: {kept}")
    assert what.partition("started: ")[2] in kept.read_text()
    left = {name: item for name, item in tree(program.home).items() if not f"{name}/".startswith(".local/state/")}  # fmt: skip
    assert left == before


@pytest.fixture
def program(seeded: Callable[..., Program], tmp_path) -> Program:
    """A program whose catalog expects other figures of the model than were measured."""
    program = seeded("gguf-q4_1", "cpu-q4_1")
    shutil.copytree(program.checkout, tmp_path / "checkout")
    program.checkout = tmp_path / "checkout"
    program.environ["PYTHONPATH"] = str(program.checkout / "src")
    catalog = program.checkout / "src/local_opus/catalog/models.toml"
    text = catalog.read_text()
    before, canary, after = text.partition("[model.canary]")
    assert canary, "the catalog names its canaries otherwise now"
    catalog.write_text(before + canary + after.replace("low = -", "low = 1", 1).replace("high = -", "high = 2", 1))  # fmt: skip
    # The environment that this program wants is the one that is there, under another name.
    lines = program.run(*program.install_words("--dry-run", "--json")).stdout.splitlines()
    (plan,) = [line for line in map(json.loads, lines) if line["event"] == "plan"]
    (wanted,) = [item["params"] for item in plan["actions"] if item["kind"] == "create_environment"]
    (there,) = program.prefix.glob("env-*")
    os.rename(there, wanted["folder"])
    marker = f"{wanted['folder']}/.complete"
    os.unlink(marker)  # it is a link to the other tests' own
    with open(marker, "w") as stream:
        stream.write(f"{wanted['lock_sha256']} {wanted['program_sha256']}\n")
    return program


def test_a_model_that_does_not_think_as_it_should_is_not_installed(program):
    before = tree(program.home)
    done = program.install(code=1)
    assert "It works." not in done.stdout
    lines = error_lines(done)
    assert len(lines) == 2
    assert "canary: mean log-probability -2." in lines[0]
    assert "is outside of" in lines[0]
    assert program.processes() == {}
    left = {name: item for name, item in tree(program.home).items() if not f"{name}/".startswith(".local/state/")}  # fmt: skip
    assert left == before
    assert (program.prefix / "models" / MODEL / "cpu-q4_1" / "weights.json").exists()
    program.run("uninstall", "--yes")
    assert subprocess.run(["pgrep", "-f", str(program.home)], check=False).returncode == 1

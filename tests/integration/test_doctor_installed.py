"""Doctor on a node that is really installed: it passes, finds what is broken, and mends it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema
import pytest
from node_program import Program, Tree, tree

from local_opus.report.doctor import schema_text

#: What depends on this machine, not on the node.
OF_MACHINE = {"clock", "swap", "huge-pages", "throttling", "governor", "limits"}


@pytest.fixture(scope="module")
def node(seeded: Callable[..., Program]) -> tuple[Program, Tree]:
    program = seeded("gguf-q4_1", "cpu-q4_1")
    before = tree(program.home)
    program.install()
    return program, before


@pytest.fixture
def program(node: tuple[Program, Tree]) -> Program:
    return node[0]


def ask(program: Program, *words: str, code: int = 0) -> Mapping[str, Any]:
    document: dict[str, Any] = json.loads(program.run("doctor", "--json", *words, code=code).stdout)
    jsonschema.validate(document, json.loads(schema_text()))
    return document


def states(document: Mapping[str, Any]) -> dict[str, str]:
    return {one["id"]: one["state"] for one in document["results"]}


def test_it_passes_on_a_sound_node(program):
    document = ask(program)
    found = states(document)
    odd = {
        one["id"]: (one["state"], one["evidence"])
        for one in document["results"]
        if one["state"] in {"warn", "fail"} and one["id"] not in OF_MACHINE
    }
    assert odd == {}
    wanted = ("device-cpu", "weights", "memory", "config", "server", "port", "environment", "telemetry", "drift", "secrets")  # fmt: skip
    assert {found[id_] for id_ in wanted} == {"pass"}
    assert document["exit_code"] == 0


def test_a_person_reads_it_in_80_columns_with_a_summary_last(program):
    out = program.run("doctor", COLUMNS="80").stdout
    assert all(len(line) <= 80 or "/" in line for line in out.splitlines())
    last = out.splitlines()[-1]
    assert " pass, " in last
    assert " 0 fail, " in last


def test_the_canary_is_asked_where_it_is_wanted(program):
    found = {one["id"]: one for one in ask(program, "--canary")["results"]}
    assert (found["canary"]["state"], "mean log-probability" in found["canary"]["evidence"]) == (
        "pass",
        True,
    )


def test_what_is_broken_is_named_and_mended(program):
    (program.config / "generation.json").unlink()
    (program.config / "server.json").chmod(0o644)
    (program.state / "receipt.jsonl").chmod(0o644)
    program.run("stop")
    (program.state / "run/server.pid").write_text('{"pid": 4194305, "started": "1"}')
    broken = states(ask(program, code=3))
    assert {id_ for id_, state in broken.items() if state == "fail"} == {
        "drift",
        "secrets",
        "config",
    }
    assert (broken["server"], broken["leftovers"]) == ("warn", "warn")
    document = ask(program, "--fix", "--yes")
    assert all(step["done"] for step in document["fixes"])
    assert len(document["fixes"]) == 4
    found = states(document)
    ids = ("drift", "secrets", "config", "server", "leftovers", "port")
    assert {found[id_] for id_ in ids} == {"pass"}
    assert "ready" in program.run("status").stdout


def test_damaged_weights_fail(program):
    path = next(program.prefix.glob("models/*/cpu-q4_1/openvino_model.bin"))
    with path.open("r+b") as stream:
        stream.seek(1000)
        byte = stream.read(1)
        stream.seek(1000)
        stream.write(bytes([byte[0] ^ 1]))
    found = {one["id"]: one for one in ask(program, code=3)["results"]}
    assert (found["weights"]["state"], "1 corrupt" in found["weights"]["evidence"]) == (
        "fail",
        True,
    )
    assert found["weights"]["fix"]["commands"] == ["local-opus verify --repair"]


def test_as_service_needs_a_systemd(program):
    done = program.run("doctor", "--as-service", code=4)
    assert "--as-service: no systemd runs here" in done.stderr


def test_after_it_all_an_uninstall_leaves_what_was_there(node):
    program, before = node
    program.run("uninstall", "--yes")
    left = {path: what for path, what in tree(program.home).items() if "/models" not in path}
    wanted = {path: what for path, what in before.items() if "/models" not in path}
    ours = {path for path in left.keys() ^ wanted.keys() if ".local/state" not in path}
    assert ours == set()

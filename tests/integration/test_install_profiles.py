"""The other profiles: installed and taken back for real, into this machine and into an image."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from node_program import Program, tree


@pytest.fixture(scope="module")
def program(checkout_copy: Path, tmp_path_factory: pytest.TempPathFactory, _pip_cache: str) -> Iterator[Program]:  # fmt: skip
    program = Program(checkout_copy, tmp_path_factory.mktemp("profiles") / "home", _pip_cache)
    yield program
    program.end_all()


def plan_of(program: Program, *words: str) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in program.run(*words, "--dry-run", "--json").stdout.splitlines()]  # fmt: skip
    (plan,) = [line for line in lines if line["event"] == "plan"]
    return plan["actions"]


def test_killed_while_pip_installs(program):
    program.kill_at(
        lambda line: line["event"] == "progress" and line["step"] == "install packages",
        *("--external-api", "--yes"),
    )
    assert program.wait_for_processes(lambda found: not found) == {}  # pip ended with it


def test_external_api_has_no_local_component(program):
    said = program.run("--external-api", "--yes").stdout
    assert "Done." in said
    (environment,) = program.prefix.glob("env-*")
    packages = {path.name for path in environment.glob("lib/*/site-packages/*")}
    assert "click" in packages
    assert not [name for name in packages if name.startswith(("openvino", "fastapi", "uvicorn"))]
    assert [path.name for path in program.config.iterdir()] == ["posture.env"]
    assert program.run("--external-api", "--yes").stdout.splitlines()[-1] == "no changes"


def test_another_profile_takes_its_place(program):
    (old,) = program.prefix.glob("env-*")
    assert "Done." in program.run("--yes").stdout  # military is the default
    (new,) = program.prefix.glob("env-*")
    assert new != old
    packages = {path.name for path in new.glob("lib/*/site-packages/*")}
    assert "openvino" in packages
    assert "openvino_genai" not in packages
    assert program.run("--profile", "military", "--yes").stdout.splitlines()[-1] == "no changes"


def test_its_command_works_alone(program):
    found = json.loads(program.run("detect", "--json").stdout)
    assert found["openvino"]["version"] is not None
    done = program.run("status", "--json")  # nothing is missing: this profile has no server
    assert json.loads(done.stdout)["running"] is False


def test_uninstall_leaves_the_home_empty(program):
    program.run("uninstall", "--yes")
    assert tree(program.home) == {}


def test_hybrid_plans_what_local_opus_plans(program):
    model = ("--model", "smollm2-135m")
    assert plan_of(program, "--hybrid", *model) == plan_of(program, "--local-opus", *model)
    assert tree(program.home) == {}


def test_nothing_is_written_outside_of_an_image(program, tmp_path):
    outside = tmp_path / "outside"
    for name in ("opt", "bin", "state", "opt/local-opus"):
        (outside / name).mkdir(parents=True)
    (outside / "victim").write_text("mine")
    image = tmp_path / "image"
    for name in ("etc", "usr/local", "var/lib", "opt"):
        (image / name).mkdir(parents=True)
    (image / "opt/local-opus").symlink_to(outside / "opt/local-opus")  # absolute: a chroot's own
    (image / "usr/local/bin").symlink_to("../../../outside/bin")
    (image / "var/lib/local-opus").symlink_to("/../../../.." + str(outside / "state"))
    before = tree(outside)
    inside = image / str(outside).lstrip("/")
    for name in ("opt/local-opus", "state"):
        (inside / name).mkdir(parents=True)
    (image / "outside/bin").mkdir(parents=True)
    image_before = tree(image)
    words = ("--root", str(image), "--scope", "system", "--yes")
    program.run("--external-api", *words)
    assert tree(outside) == before
    assert os.readlink(image / "outside/bin/local-opus") == "/opt/local-opus/bin/local-opus"
    assert list((inside / "opt/local-opus").glob("env-*/bin/python"))
    assert (inside / "state/receipt.jsonl").exists()
    program.run("uninstall", *words)
    assert tree(outside) == before
    assert tree(image) == image_before

"""An installed node whose config was edited to nonsense: it serves on, and every command names it."""

from __future__ import annotations

import json
from collections.abc import Callable

from node_program import Program


def state(program: Program, code: int) -> dict[str, object]:
    return json.loads(program.run("status", "--json", code=code).stdout)


def test_the_last_good_one_is_served_and_the_error_is_named(seeded: Callable[..., Program]):
    program = seeded("gguf-q4_1", "cpu-q4_1")
    program.install()
    kept = program.state / "run" / "state" / "last-good.json"
    assert json.loads(kept.read_text())["settings"]["port"] == program.port
    path = program.config / "server.json"
    sound = path.read_text()
    named = f"{path}: port: Input should be a valid integer"

    path.write_text(sound.replace(f'"port": {program.port}', '"port": "eighty"'))
    program.run("stop")
    short = named.replace(f"{program.home}/", "~/")
    assert f"Warning: {short}" in program.run("start").stdout
    found = state(program, 0)
    assert found["ready"] is True
    assert found["url"] == f"http://127.0.0.1:{program.port}"
    assert found["config_problem"] == f"{named}; the last good settings are served"
    assert named in program.run("status").stdout
    checks = json.loads(program.run("doctor", "--json", code=3).stdout)["results"]
    (config,) = [one for one in checks if one["id"] == "config"]
    assert config["state"] == "fail"
    assert config["evidence"] == named
    assert "the server runs with the last good settings" in config["details"]
    program.install(code=2)

    # What is well-formed and can't be served is no install's success either.
    path.write_text(sound)
    model = program.config / "model.json"
    model.write_text(model.read_text().replace('"CPU"', '"GPU.9"'))
    program.run("stop")
    assert "Warning: smollm2-135m on GPU.9: the engine failed" in program.run("start").stdout
    assert "GPU.9" in str(state(program, 0)["config_problem"])

    program.run("uninstall", "--yes", "--purge")
    assert not kept.exists()
    assert not program.state.exists()

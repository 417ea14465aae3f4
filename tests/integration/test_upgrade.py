"""A newer version beside the old: tried, switched to, or taken back, with the real server."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from node_program import MODEL, Program, copy_checkout, error_lines, tree

NEW = "99.1.0"


@pytest.fixture(scope="module")
def program(seeded: Callable[..., Program]) -> Program:
    program = seeded("gguf-q4_1", "cpu-q4_1")
    program.install()
    return program


@pytest.fixture(scope="module")
def newer(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The program of a newer checkout, in the same home."""
    checkout = copy_checkout(tmp_path_factory.mktemp("newer") / "checkout")
    version = checkout / "src/local_opus/__init__.py"
    version.write_text(f'{version.read_text()}\n__version__ = "{NEW}"\n')
    template = checkout / "templates/server.json.j2"
    template.write_text(template.read_text().replace("{\n", "{\n\n", 1))
    newer = Program(checkout, program.home, program.environ["PIP_CACHE_DIR"])
    newer.port = program.port
    return newer


def models(program: Program) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in sorted((program.prefix / "models" / MODEL).rglob("*")):
        stat = path.stat()
        found[str(path)] = (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


def answers(program: Program) -> bool:
    url = f"http://127.0.0.1:{program.port}/ready"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.status == 200


def environments(program: Program) -> list[str]:
    return sorted(path.name for path in program.prefix.glob("env-*"))


def version(program: Program) -> str:
    return program.run("--version").stdout.split()[-1]


def test_the_same_version_changes_nothing(program):
    assert program.run("upgrade", "--yes").stdout.splitlines()[-1] == "no changes"


def test_the_plan_tries_the_new_server_before_anything_of_the_old_changes(newer):
    said = newer.run("upgrade", "--dry-run", "--json").stdout.splitlines()[-1]
    plan = json.loads(said)["plan"] if "plan" in json.loads(said) else json.loads(said)
    order = [action["id"] for action in plan["actions"]]
    changed = [
        order.index(name)
        for name in ("command", "config:server", "unit:local-opus.service", "server")
    ]
    assert order.index("trial") < min(changed)


def test_a_version_that_does_not_serve_leaves_the_old_one(program, newer, tmp_path, monkeypatch):
    monkeypatch.setitem(newer.environ, "TMPDIR", str(tmp_path))
    before, old = tree(program.home), environments(program)

    def break_it(_child: object) -> None:
        (new,) = set(environments(program)) - set(old)
        for path in (program.prefix / new).glob("lib/python*/site-packages/local_opus/serve.py"):
            path.unlink()
        for path in (program.prefix / new).glob("lib/**/local_opus/__pycache__/serve.*"):
            path.unlink()

    ended = newer.run_until(
        lambda line: line["event"] == "started" and line["step"] == "trial",
        break_it,
        *("upgrade", "--yes"),
    )
    assert ended.code == 1
    assert "the server ended while it started" in ended.err
    (log,) = tmp_path.glob("local-opus-server-*.log")
    assert ended.err.endswith(f"  fix: See what the server printed: {log}.\n")
    assert "No module named local_opus.serve" in log.read_text()
    assert "not taken back" not in ended.err
    after = tree(program.home)
    differ = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert differ <= {f".local/state/local-opus/{name}"
                      for name in ("receipt.jsonl", "receipt.head", "log/server.log")}  # fmt: skip
    assert answers(program)
    assert program.run("upgrade", "--yes").stdout.splitlines()[-1] == "no changes"


def test_killed_during_the_trial_the_old_one_still_serves(program, newer):
    before = models(program)
    newer.kill_at(
        lambda line: line["event"] == "progress" and line["step"] == "canary", "upgrade", "--yes"
    )
    assert answers(program)
    assert models(program) == before
    assert (program.config / "trial").exists()


def test_the_same_upgrade_again_comes_to_its_end(program, newer):
    before, old = models(program), environments(program)
    served: list[bool] = []
    ended = newer.run_until(
        lambda line: line["event"] == "progress" and line["step"] in {"ask it", "canary"},
        lambda _child: served.append(answers(program)),
        *("upgrade", "--yes"),
    )
    assert ended.code == 0, ended.err
    assert served == [True]
    assert "weights" not in ended.steps("started")
    assert models(program) == before
    assert not (program.config / "trial").exists()
    # Made before the kill, and kept; the fixture's own was there before the install.
    assert environments(program) == old
    assert answers(program)
    assert len(program.processes()) == 2
    installed = json.loads(newer.run("receipt", "--json").stdout)
    assert [one for one in installed if one["event"] == "run"][-1]["data"]["program"] == NEW
    assert newer.run("upgrade", "--yes").stdout.splitlines()[-1] == "no changes"


def test_an_older_version_is_refused(program):
    lines = error_lines(program.run("upgrade", "--yes", code=2))
    assert f"version {NEW} is installed" in lines[0]
    assert "--allow-downgrade" in lines[-1]


def test_the_new_version_takes_everything_back(program, newer):
    newer.run("uninstall", "--purge", "--yes")
    assert program.processes() == {}
    left = {name for name in tree(program.home) if not name.startswith(".rustup")}
    # The fixture's environment and store were there before the first install, and so they stay.
    below = {name.split("/")[3] for name in left if name.count("/") > 2}
    assert below <= {*environments(program), "models"}
    assert list((program.prefix / "models").iterdir()) == []
    shutil.rmtree(Path(program.home) / ".local")


def test_nothing_installed_is_told(program):
    lines = error_lines(program.run("upgrade", "--yes", code=1))
    assert "nothing is installed" in lines[0]

"""An engine that the kernel ended for lack of memory."""

from __future__ import annotations

import asyncio
import os

import pytest
from servers import FAKE_ENGINE, FAST

from local_opus.server import oom
from local_opus.server.engine_client import EngineClient


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A control group of the unified hierarchy, with a limit."""
    folder = tmp_path / "fs" / "system.slice" / "local-opus.service"
    folder.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/system.slice/local-opus.service\n")
    (folder / "memory.max").write_text("2147483648\n")
    (folder / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 0\noom_kill 0\n")
    monkeypatch.setattr(oom, "OWN", str(tmp_path / "own"))
    monkeypatch.setattr(oom, "UNIFIED", str(tmp_path / "fs"))
    return folder


def test_a_kill_for_lack_of_memory_is_told_by_its_counter(group):
    before = oom.kills()
    assert (before.count, before.limit) == (0, 2147483648)
    (group / "memory.events").write_text("oom 1\noom_kill 2\n")
    said = oom.explain(before)
    assert said.startswith("the kernel's memory limit of 2048 MiB: oom_kill in ")
    assert said.endswith("memory.events went from 0 to 2")


def test_without_a_limit_of_its_own_none_is_named(group):
    (group / "memory.max").write_text("max\n")
    assert oom.kills().limit is None


def test_a_counter_that_stands_still_says_that_it_was_somebody_else(group):
    assert "it was not for lack of memory" in oom.explain(oom.kills())


@pytest.mark.parametrize("damage", ["gone", "nonsense"])
def test_without_a_counter_it_is_a_guess_and_said_so(group, damage):
    if damage == "gone":
        (group / "memory.events").unlink()
    else:
        (group / "memory.events").write_text("oom_kill many\n")
    assert oom.kills() is None
    assert oom.explain(None) == "nobody here sent that; the kernel does where memory lacks"


def test_the_older_hierarchy_counts_too(tmp_path, monkeypatch):
    folder = tmp_path / "fs" / "a"
    folder.mkdir(parents=True)
    (tmp_path / "own").write_text("9:memory:/a\n0::/b\n")
    (folder / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    (folder / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    monkeypatch.setattr(oom, "OWN", str(tmp_path / "own"))
    monkeypatch.setattr(oom, "LEGACY", str(tmp_path / "fs"))
    assert oom.kills() == oom.Kills(3, f"{folder}/memory.oom_control", None)


def test_the_end_of_an_engine_names_it(group):
    client = EngineClient(
        {"op": "load", "model": "fake"},  # type: ignore[typeddict-item]
        max_in_flight=1,
        command=FAKE_ENGINE,
        timing=FAST,
    )

    async def run() -> None:
        await client.start()
        await client.wait_ready()
        (group / "memory.events").write_text("oom_kill 1\n")
        os.kill(client.pid, 9)
        await client.wait_unready()
        await client.stop()

    asyncio.run(run())
    assert client.last_end.startswith("SIGKILL: the kernel's memory limit of 2048 MiB")

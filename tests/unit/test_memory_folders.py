"""The tests' own folders in memory: none outlives its run for long."""

from __future__ import annotations

import os

import pytest

import memory


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_FOLDER", tmp_path)
    monkeypatch.setattr(memory, "has_room", lambda size: True)


def test_what_a_killed_run_left_is_removed_and_what_another_uses_is_not(tmp_path):
    abandoned = tmp_path / "local-opus-of-tests-abandoned"
    (abandoned / "closed").mkdir(parents=True, mode=0o500)
    foreign = tmp_path / "somebody's"
    foreign.mkdir()
    first = memory.new_folder(1)
    second = memory.new_folder(1)
    assert not abandoned.exists()
    assert foreign.exists()
    for folder in (first, second):
        assert folder.is_dir()
        memory.remove(folder)
    assert set(os.listdir(tmp_path)) == {foreign.name, "home"}

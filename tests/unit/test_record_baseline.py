"""What an install measures for the monitor: kept with the configs, taken back with them."""

from __future__ import annotations

import pytest

from local_opus import selftest
from local_opus.actions import build
from local_opus.actions.base import State
from local_opus.errors import LocalOpusError
from local_opus.monitor import baseline

DIGEST = "ab" * 32


@pytest.fixture
def action(host, places, monkeypatch):
    host.files.make_folders(places.config)
    monkeypatch.setattr(
        selftest, "server",
        lambda *_: {"tokens_per_second": 40.5, "first_token_seconds": 0.1, "tokens": 64},
    )  # fmt: skip
    params = {"scope": "user", "path": baseline.path_of(places), "model": "tiny",
              "inputs_sha256": DIGEST}  # fmt: skip
    return build("record_baseline", params)


def make(host, action):
    before = action.capture(host)
    return before, action.execute(host, before, lambda *_: None)


def test_what_was_measured_is_what_the_monitor_reads(host, places, action):
    assert action.inspect(host).state is State.ABSENT
    _, after = make(host, action)
    assert after["tokens_per_second"] == 40.5
    assert baseline.read(host, places, "tiny") == 40.5
    assert host.files.stat(action.path).mode == 0o600
    assert action.inspect(host).state is State.PRESENT


@pytest.mark.parametrize("change", [{"inputs_sha256": "cd" * 32}, {"model": "other"}])
def test_another_server_is_measured_anew(host, action, change):
    make(host, action)
    assert action.model_copy(update=change).inspect(host).state is State.DIFFERENT


def test_a_file_of_nonsense_is_measured_anew(host, action):
    host.files.write_atomic(action.path, b"fast", mode=0o600)
    assert action.inspect(host).state is State.DIFFERENT


def test_it_is_taken_back(host, action):
    before, after = make(host, action)
    assert action.revert(host, before, after).kept is None
    assert host.files.stat(action.path) is None


def test_one_that_was_edited_is_kept(host, action):
    before, after = make(host, action)
    host.files.write_atomic(action.path, b"mine", mode=0o600)
    assert "edited" in action.revert(host, before, after).kept


def test_a_server_that_does_not_answer_leaves_no_file(host, action, monkeypatch):
    def silent(*_):
        raise LocalOpusError("no answer", "Wait.")

    monkeypatch.setattr(selftest, "server", silent)
    with pytest.raises(LocalOpusError, match="no answer"):
        make(host, action)
    assert host.files.stat(action.path) is None

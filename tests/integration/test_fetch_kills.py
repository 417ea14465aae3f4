"""kill -9 at a dozen moments of a fetch: each time little comes again, and in the end all is right."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from random import Random

import pytest
from fetching import float_gguf, host_for, hub_model, tree

from fetch_runs import Ledger, Zygote
from hub import Hub, Mischief
from local_opus.host import Host
from local_opus.host.partials import MAX_LOST
from local_opus.values import Model
from local_opus.weights.verify import is_proven, verify_folder

CONTENTS = {f"{number}.gguf": float_gguf(3, number) for number in range(4)}
SIZE = sum(map(len, CONTENTS.values()))
FOLDER = "/models/tiny/gguf-q4_1"


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as started:
        yield started


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub([Mischief("slow", on="cdn", rate=4_000_000)]) as server:
        yield server


@pytest.fixture
def model(hub: Hub) -> Model:
    return hub_model(hub, CONTENTS)


@pytest.fixture
def ledger(zygote: Zygote, host: Host, model: Model) -> Ledger:
    return Ledger(zygote, host, "/models", FOLDER, model)


def is_whole(host: Host, model: Model) -> None:
    assert is_proven(verify_folder(host, FOLDER, catalog_files=model.files))
    assert [path for path in tree(host) if ".partial" in path] == []
    assert host.files.stat("/models/tiny/.partial") is None


def test_kills_at_random_moments(host, model, ledger):
    random = Random(20)
    kills = 0
    for _ in range(6):
        left = SIZE - sum(ledger.have())
        process = ledger.start()
        ledger.kill(process, random.randrange(left // 2), random.uniform(0, 0.005))
        result, cost = ledger.end()
        kills += result["status"] == -signal.SIGKILL
        assert 0 <= cost.worst <= cost.allowed < MAX_LOST
        assert cost.whole == 0
    assert kills == 6
    ledger.start()
    result, cost = ledger.end()
    assert (result["status"], result["changed"]) == (0, True)
    assert (cost.total, cost.whole) == (0, 0)
    is_whole(host, model)


def test_kills_at_calls(host, model, ledger, hub, tmp_path, zygote):
    """Those by which files get their names, and the manifest is written."""
    hub.misbehave()
    other = Ledger(zygote, host_for(hub, tmp_path / "other"), "/models", FOLDER, model)
    other.start(watch=True)
    calls = other.end()[0]["calls"]
    random = Random(7)
    cuts = sorted(random.sample(range(calls // 2, calls), 6))
    killed = 0
    for cut in cuts:
        ledger.start(watch=True, kill_at=cut)
        result, cost = ledger.end()
        killed += result["status"] == -signal.SIGKILL
        assert 0 <= cost.worst <= cost.allowed
        assert cost.whole == 0
    assert killed
    ledger.start()
    assert ledger.end()[0]["status"] == 0
    is_whole(host, model)

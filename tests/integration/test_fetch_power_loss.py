"""The power goes while a model is fetched: little comes again, and nothing wrong is believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from fetching import HASTY, count_received, host_for, hub_model, small_pieces, small_segments, tree

from builders import gguf_bytes
from hub import Hub
from local_opus.values import Model, Verdict
from local_opus.weights.fetch import fetch_model
from local_opus.weights.sources import transfer, web
from local_opus.weights.verify import is_proven, verify_folder
from power import PowerCutError, PowerHost, powered

#: Pieces that a power loss may cost a file; two of them are on their way over each connection.
LOST = 4
CONTENTS = {
    "tiny.gguf": gguf_bytes(tensors=[("token_embd.weight", (9_000,), 0)]),
    "more.gguf": gguf_bytes(tensors=[("token_embd.weight", (1_200,), 0)]),
}
FOLDER = "/models/tiny/gguf-q4_1"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(web, "PATIENT", HASTY)
    small_pieces(monkeypatch, lost=LOST)
    return count_received(monkeypatch, by_file=True)


@pytest.fixture
def model(hub: Hub) -> Model:
    return hub_model(hub, CONTENTS)


def run_until(host: PowerHost, model: Model, cut_at: int | None) -> bool:
    """Fetch until the power goes; return whether it came to its end before."""
    try:
        host.run(lambda: fetch_model(host, "/models", model, quick=True), cut_at)
    except PowerCutError:
        return False
    return True


def is_listed(host: PowerHost) -> bool:
    return host.files.stat(f"{FOLDER}/weights.json") is not None


def verdicts(host: PowerHost, **how: bool) -> dict[str, Verdict]:
    return {item.path: item.verdict for item in verify_folder(host, FOLDER, **how)}


def is_whole(host: PowerHost) -> None:
    for path, data in CONTENTS.items():
        assert Path(f"{host.root}{FOLDER}/{path}").read_bytes() == data
    assert is_proven(verify_folder(host, FOLDER))
    assert tree(host) == [
        *(f"tiny/gguf-q4_1/{path}" for path in sorted(CONTENTS)),
        "tiny/gguf-q4_1/weights.json",
        "tiny/gguf-q4_1/weights.stat.json",
    ]
    assert host.files.stat("/models/tiny/.partial") is None


def survives(
    host: PowerHost, model: Model, received: Counter[str], random: Random, *cuts: int
) -> None:
    """Fetch, with the power going at these calls, one run after the other; then once to the end."""
    losses = 0
    for cut_at in cuts:
        if run_until(host, model, cut_at):
            break
        losses += 1
        host.lose_power(random)
        if is_listed(host):  # then it is whole, and a quick look believes it
            assert set(verdicts(host).values()) == {Verdict.REAL}
            assert set(verdicts(host, quick=True).values()) == {Verdict.REAL}
    assert run_until(host, model, None)
    is_whole(host)
    for path, data in CONTENTS.items():
        again = received[path] - len(data)
        assert again <= losses * transfer.MAX_LOST, f"{again} bytes of {path} came again"


def test_the_power_goes_at_any_call(tmp_path, hub, received, model, monkeypatch):
    """One file and one connection at a time: nearly the same calls each time."""
    monkeypatch.setattr(web, "FILES", 1)
    monkeypatch.setattr(web, "CONNECTIONS", 1)
    environ = host_for(hub, tmp_path / "environ").environ
    with powered(tmp_path / "whole", environ) as host:
        calls = host.run(lambda: fetch_model(host, "/models", model))
    assert calls > 60
    for cut_at in range(calls):
        received.clear()
        with powered(tmp_path / str(cut_at), environ) as host:
            survives(host, model, received, Random(cut_at), cut_at)


def test_the_power_goes_again_and_again(tmp_path, hub, received, model, monkeypatch):
    """All connections at once, and up to three losses in a row at random calls."""
    monkeypatch.setattr(web, "CONNECTIONS", 4)
    small_pieces(monkeypatch, lost=6)  # two connections a file
    environ = host_for(hub, tmp_path / "environ").environ
    for seed in range(40):
        random = Random(seed)
        cuts = [random.randrange(180) for _ in range(random.randint(1, 3))]
        received.clear()
        with powered(tmp_path / str(seed), environ) as host:
            survives(host, model, received, random, *cuts)


def test_the_power_goes_while_a_file_is_repaired(tmp_path, hub, received, model, monkeypatch):
    monkeypatch.setattr(web, "FILES", 1)
    monkeypatch.setattr(web, "CONNECTIONS", 1)
    segment = small_segments(monkeypatch)
    environ = host_for(hub, tmp_path / "environ").environ
    for cut_at in range(0, 80, 2):
        random = Random(cut_at)
        with powered(tmp_path / str(cut_at), environ) as host:
            fetch_model(host, "/models", model)
            damaged = Path(f"{host.root}{FOLDER}/tiny.gguf")
            data = CONTENTS["tiny.gguf"]
            damaged.write_bytes(data[:segment] + b"\xff" + data[segment + 1 :])
            host.restart()
            received.clear()
            losses = 0 if run_until(host, model, cut_at) else 1
            if losses:
                host.lose_power(random)
                for path, verdict in verdicts(host, quick=True).items():
                    assert verdict is not Verdict.REAL or verdicts(host)[path] is Verdict.REAL
                assert run_until(host, model, None)
            is_whole(host)
            assert received.total() <= segment + losses * transfer.MAX_LOST

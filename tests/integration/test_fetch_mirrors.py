"""When the hub fails, the next one of LOCAL_OPUS_MIRRORS brings what is missing, without a token."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fetching import HASTY, REPO, SMALL, TOKEN, count_received, host_for, pinned, small_pieces, tree

from builders import gguf_bytes
from hub import Hub, Mischief
from local_opus.errors import LocalOpusError, MachineCannotError
from local_opus.host import Host
from local_opus.values import Model
from local_opus.weights.fetch import fetch_model
from local_opus.weights.sources import transfer, web
from local_opus.weights.verify import is_proven, verify_folder

DATA = gguf_bytes(tensors=[("token_embd.weight", (22_000,), 0)])
CONNECTIONS = 4


@dataclass(frozen=True)
class Case:
    """What the first hub does. ``first``: bytes that may be read from it at least, and at most."""

    rules: tuple[Mischief, ...]
    least: int = 0
    most: int = 0


def at_cdn(kind: str, **how: object) -> Case:
    return Case((Mischief(kind, on="cdn", **how),))


ALL = len(DATA)
CASES = {
    "it is another file": replace(at_cdn("flip", at=40_000), least=ALL, most=ALL),
    "it is another revision": replace(at_cdn("other_revision", revision="old"), least=ALL, most=ALL),
    "it has another commit": Case((Mischief("commit", on="resolve"),)),
    # What the store sends meanwhile lies in the kernel's buffers, unread.
    "it says another digest": Case((Mischief("etag", on="resolve"),), most=ALL),
    "it has another size": at_cdn("wrong_range", by=0, total=1),
    "it is not there": Case((Mischief("status", status=404),)),
    "it is gated": Case((Mischief("status", status=403),)),
    "it is ill": Case((Mischief("status", status=503),)),
    "it is ill after some": replace(at_cdn("status", status=503, skip=6), least=SMALL, most=12 * SMALL),
    "it asks to wait": Case((Mischief("status", status=429, retry_after=86_400),)),
    "it shows a page": Case((Mischief("portal"),)),
    "it loops": Case((Mischief("loop", on="resolve"),)),
    "it drips": replace(at_cdn("slow", rate=20), most=1000),
    "it stalls": at_cdn("stall"),
    "it cuts": at_cdn("truncate"),
    "it leads to a private address": Case((Mischief("redirect", on="resolve", to="https://10.0.0.1"),)),
}  # fmt: skip


@pytest.fixture(autouse=True)
def received(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(web, "PATIENT", replace(HASTY, attempts=2, stall=0.3))
    monkeypatch.setattr(web, "CONNECTIONS", CONNECTIONS)
    small_pieces(monkeypatch)
    return count_received(monkeypatch)


@pytest.fixture
def hubs() -> Iterator[tuple[Hub, Hub]]:
    with Hub() as first, Hub() as second:
        for hub in (first, second):
            hub.add(REPO, {"tiny.gguf": DATA[::-1]})
            hub.repositories[REPO].tags["old"] = hub.repositories[REPO].head
            hub.repositories[REPO].commit({"tiny.gguf": DATA}, commit="ab" * 20)
        yield first, second


@pytest.fixture
def model() -> Model:
    return pinned({"tiny.gguf": DATA}, "ab" * 20)


@pytest.fixture
def host(tmp_path: Path, hubs: tuple[Hub, Hub]) -> Host:
    first, second = hubs
    return host_for(first, tmp_path / "root", LOCAL_OPUS_MIRRORS=f" {second.url}/,")


def cdn(hub: Hub) -> str:
    return hub.cdn_url.removeprefix("http://")


@pytest.mark.parametrize("name", CASES)
def test_the_next_brings_it(name, host, hubs, model, received):
    case = CASES[name]
    first, second = hubs
    first.misbehave(*case.rules)
    stored = fetch_model(host, "/models", model)
    assert is_proven(verify_folder(host, stored.folder, catalog_files=model.files))
    assert host.files.stat("/models/tiny/.partial") is None
    assert case.least <= received[cdn(first)] <= case.most
    # What came is not fetched again, unless it was another file's.
    whole = "another file" in name or "revision" in name
    assert received[cdn(second)] <= len(DATA)
    assert received[cdn(second)] >= len(DATA) - (0 if whole else received[cdn(first)])
    assert {request.token for request in first.asked(place="resolve")} == {TOKEN}
    assert {request.token for request in second.requests} == {None}


def test_a_hub_that_is_not_there(tmp_path, hubs, model):
    host = host_for(hubs[0], tmp_path / "root", HF_ENDPOINT="http://127.0.0.1:9", LOCAL_OPUS_MIRRORS=hubs[1].url)  # fmt: skip
    assert fetch_model(host, "/models", model).changed


def test_a_hub_whose_certificate_is_out_of_time(host, hubs, model, monkeypatch):
    """The clock is blamed for it where there is no other hub: then this machine can't go on."""
    first, second = hubs
    first.misbehave(Mischief("drop"))
    place = first.url.removeprefix("http://")
    blamed = MachineCannotError("the certificate has expired", "Set the clock.")
    monkeypatch.setattr(
        transfer.clock, "blamed", lambda _, whose: blamed if whose == place else None
    )
    assert fetch_model(host, "/models", model).changed
    assert second.asked(place="cdn")
    host.files.remove_tree("/models/tiny")
    second.misbehave(Mischief("status", status=404))
    with pytest.raises(MachineCannotError, match="has expired"):
        fetch_model(host, "/models", model)


def test_a_mirror_is_not_asked_without_need(host, hubs, model):
    fetch_model(host, "/models", model)
    assert hubs[1].requests == []


def test_when_all_fail_each_is_told(host, hubs, model):
    first, second = hubs
    first.misbehave(Mischief("flip", on="cdn", at=40_000))
    second.misbehave(Mischief("status", status=404))
    with pytest.raises(LocalOpusError, match="not the pinned file") as caught:
        fetch_model(host, "/models", model)
    assert first.url.removeprefix("http://") in caught.value.message
    (other,) = caught.value.details
    assert second.url.removeprefix("http://") in other
    assert "not there (status 404)" in other
    assert tree(host) == []


def test_what_a_slow_hub_sends_late_is_not_written(host, hubs, model):
    """Three connections wait for bytes of another revision when the fourth finds the hub wrong."""
    first, _ = hubs
    first.misbehave(
        Mischief("other_revision", on="cdn", revision="old"),
        Mischief("stall", on="cdn", at=100, seconds=0.2, first=3),
        Mischief("status", on="cdn", status=404, skip=3),
    )
    stored = fetch_model(host, "/models", model)
    first.idle()
    assert is_proven(verify_folder(host, stored.folder, catalog_files=model.files))

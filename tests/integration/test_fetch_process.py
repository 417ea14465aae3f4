"""A fetch as a process: the memory it takes, and how it ends when a person wants it to."""

from __future__ import annotations

import os
import signal
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from fetching import float_gguf, hub_model, pinned, tree

from builders import LLAMA, gguf_header, pad, tensor_info
from fetch_runs import Ledger, Zygote
from hub import Content, Hub, Mischief
from local_opus.host import Host
from local_opus.host.partials import PIECE
from local_opus.values import CatalogFile, Model
from local_opus.weights.verify import is_proven, verify_folder

FOLDER = "/models/tiny/gguf-q4_1"
SMALL = float_gguf(3)


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    with Zygote() as started:
        yield started


@pytest.mark.parametrize("files", [1, 4])
def test_memory_does_not_grow_with_the_size(tmp_path, zygote, hub, host, files):
    content = Content(large_file(tmp_path / "large.gguf", 192 // files))
    names = [f"{number}.gguf" for number in range(files)]
    repository = hub.add("some/repo", dict.fromkeys(names, content))
    model = pinned({"x": b"x"}, repository.head).model_copy(
        update={
            "files": tuple(
                CatalogFile(path=name, size=content.size, sha256=content.sha256) for name in names
            )
        }
    )
    ledger = Ledger(zygote, host, "/models", FOLDER, model)
    ledger.start()
    result, _ = ledger.end()
    assert result["status"] == 0
    assert result["peak"] < 100e6


def large_file(path: Path, mebibytes: int) -> Path:
    values = array("f", [(n % 1009 - 504) / 10_000 for n in range(262_144)]).tobytes()
    infos = [tensor_info("token_embd.weight", (mebibytes * 262_144,), 0, 0)]
    with path.open("wb") as stream:
        stream.write(pad(gguf_header(LLAMA, infos)))
        for _ in range(mebibytes):
            stream.write(values)
    return path


#: What the hub does while the run is to end, and whether something is kept.
WHILE = {
    "it brings": (Mischief("slow", on="cdn", rate=1_000_000), True),
    "it stalls": (Mischief("stall", on="cdn", at=2 * PIECE + 5), True),
    "it does not answer": (Mischief("hang"), False),
    "the CDN does not answer": (Mischief("hang", on="cdn"), False),
    "it asks to wait": (Mischief("status", status=429, retry_after=60), False),
}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", WHILE)
def test_a_signal_ends_it_soon(zygote, hub, host, name, number):
    rule, kept = WHILE[name]
    model = hub_model(hub, {"tiny.gguf": SMALL})
    hub.misbehave(rule)
    ledger = Ledger(zygote, host, "/models", FOLDER, model)
    process = ledger.start()
    while not (ledger.counts.all()[0] > 2 * PIECE if kept else hub._requests):
        time.sleep(0.01)
    time.sleep(0.05)
    begin = time.monotonic()
    os.kill(process, number)
    result, cost = ledger.end()
    assert time.monotonic() - begin < 2
    assert result["status"] == 130
    assert cost.worst <= cost.allowed
    assert (sum(ledger.have()) > 0) is kept
    assert all(path.startswith("tiny/.partial/gguf-q4_1/") for path in tree(host))
    goes_on(hub, host, model, ledger)


def goes_on(hub: Hub, host: Host, model: Model, ledger: Ledger) -> None:
    hub.misbehave()
    ledger.start()
    result, cost = ledger.end()
    assert (result["status"], cost.total) == (0, 0)
    assert is_proven(verify_folder(host, FOLDER, catalog_files=model.files))


def test_a_signal_ends_the_wait_for_another_run(zygote, hub, host):
    model = hub_model(hub, {"tiny.gguf": SMALL})
    hub.misbehave(Mischief("hang"))
    first = Ledger(zygote, host, "/models", FOLDER, model)
    with Zygote() as other:
        holder = first.start()
        while not hub._requests:
            time.sleep(0.01)
        second = Ledger(other, host, "/models", FOLDER, model, "second")
        waiter = second.start()
        time.sleep(0.3)
        os.kill(waiter, signal.SIGINT)
        result, _ = second.end()
        assert result["status"] == 130
        assert result["told"] == [f"wait for PID {holder}"]
        os.kill(holder, signal.SIGINT)
        assert first.end()[0]["status"] == 130

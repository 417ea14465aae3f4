"""Several runs that want the same model: one fetches it, the others wait and take what it brought."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fetching import count_received, float_gguf, host_for, hub_model, small_pieces, tree

from builders import gguf_bytes
from fetch_runs import Ledger, Zygote
from hub import Hub, Mischief
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.values import Model
from local_opus.weights import store
from local_opus.weights.fetch import fetch_model
from local_opus.weights.verify import is_proven, verify_folder

pytestmark = pytest.mark.usefixtures("hasty")

FOLDER = "/models/tiny/gguf-q4_1"
LOCK = "/models/tiny/.partial/gguf-q4_1.lock"
DATA = float_gguf(4)
SMALL_FILE = gguf_bytes(tensors=[("token_embd.weight", (22_000,), 0)])


def is_whole(host: Host, model: Model) -> None:
    assert is_proven(verify_folder(host, FOLDER, catalog_files=model.files))
    assert host.files.stat("/models/tiny/.partial") is None
    assert len(tree(host)) == len(model.files) + 2


@pytest.fixture(scope="module")
def zygotes() -> Iterator[tuple[Zygote, Zygote]]:
    with Zygote() as first, Zygote() as second:
        yield first, second


@pytest.fixture
def two(tmp_path: Path, hub: Hub, zygotes: tuple[Zygote, Zygote]) -> tuple[Ledger, Ledger]:
    """Two programs that fetch the same model into the same store; it takes more than a second."""
    hub.misbehave(Mischief("slow", on="cdn", rate=3_000_000))
    model = hub_model(hub, {"tiny.gguf": DATA})
    first, second = (
        Ledger(zygote, host_for(hub, tmp_path / "root"), "/models", FOLDER, model, name)
        for zygote, name in zip(zygotes, ("first", "second"), strict=True)
    )
    return first, second


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_each_byte_is_fetched_once_and_the_second_says_for_whom_it_waits(host, two):
    first, second = two
    holder = first.start()
    until(lambda: first.counts.all()[0] > 0)
    second.start()
    results = [first.end()[0], second.end()[0]]
    assert [result["status"] for result in results] == [0, 0]
    assert [result["changed"] for result in results] == [True, False]
    assert results[1]["told"][0] == f"wait for PID {holder}"
    assert "wait" not in " ".join(results[0]["told"])
    assert (first.counts.all(), second.counts.all()) == ([len(DATA)], [0])
    assert host.files.stat("/models/tiny/.partial") is None


def test_who_waits_takes_over_from_a_holder_that_was_killed(host, two):
    first, second = two
    holder = first.start()
    until(lambda: first.counts.all()[0] > 0)
    second.start()
    time.sleep(0.4)  # it waits by then
    os.killpg(holder, signal.SIGKILL)
    begin = time.monotonic()
    assert first.end()[0]["status"] == -signal.SIGKILL
    kept = second.have()[0]
    result, _ = second.end()
    assert (result["status"], result["changed"]) == (0, True)
    assert result["told"][0] == f"wait for PID {holder}"
    assert 0 < kept < len(DATA)
    assert second.counts.all() == [len(DATA) - kept]
    assert time.monotonic() - begin < 5
    assert host.files.stat("/models/tiny/.partial") is None


def _ended() -> str:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return f"{process.pid}\n"


#: What an earlier run, or somebody else, left in the lock's file; nobody holds it.
STALE = {
    "the PID of a process that is no more": _ended,
    "the PID of another process that lives": lambda: f"{os.getppid()}\n",
    "our own PID": lambda: f"{os.getpid()}\n",
    "nothing": lambda: "",
    "words": lambda: "who am I\n",
    "a number that is no PID": lambda: "9" * 30,
    "zeros": lambda: "\0" * 4096,
    "a negative one": lambda: "-1\n",
}


@pytest.mark.parametrize("name", STALE)
def test_a_stale_lock_holds_nobody_up(host, hub, name):
    model = hub_model(hub, {"tiny.gguf": SMALL_FILE})
    host.files.make_folders(LOCK.rpartition("/")[0])
    host.files.write_atomic(LOCK, STALE[name]().encode())
    told: list[str] = []
    begin = time.monotonic()
    fetch_model(host, "/models", model, progress=lambda what, *_: told.append(what))
    assert time.monotonic() - begin < 1
    assert not any("wait" in what for what in told)
    is_whole(host, model)


def test_a_holder_without_a_name_is_waited_for(host, hub):
    model = hub_model(hub, {"tiny.gguf": SMALL_FILE})
    host.files.make_folders(LOCK.rpartition("/")[0])
    told: list[str] = []
    with Path(host.root + LOCK).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        timer = threading.Timer(1.5, fcntl.flock, (held, fcntl.LOCK_UN))
        timer.start()
        fetch_model(host, "/models", model, progress=lambda what, *_: told.append(what))
        timer.join()
    assert told[0] == "wait for another run"
    is_whole(host, model)


def _link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


#: What is in the place of the lock.
PLACES: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a folder": Path.mkdir,
    "a link": _link,
}


@pytest.mark.parametrize("name", PLACES)
def test_what_is_no_file_is_no_lock(host, hub, name):
    model = hub_model(hub, {"tiny.gguf": SMALL_FILE})
    host.files.make_folders(LOCK.rpartition("/")[0])
    PLACES[name](Path(host.root + LOCK))
    with pytest.raises(LocalOpusError) as caught:
        fetch_model(host, "/models", model)
    assert FOLDER in caught.value.message
    assert "permissions" in caught.value.remedy
    assert hub.requests == []


def test_many_at_once(host, hub, monkeypatch):
    """Threads lock as processes do: by descriptors. All begin and end in the same moments."""
    small_pieces(monkeypatch)
    received = count_received(monkeypatch)
    models = [
        hub_model(hub, {"tiny.gguf": SMALL_FILE}).model_copy(update={"quantization": name})
        for name in ("Q4_1", "Q8_0")
    ]
    errors: list[BaseException] = []

    def fetch(model: Model) -> None:
        try:
            fetch_model(host, "/models", model)
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            errors.append(error)

    monkeypatch.setattr(store.locks, "_WAIT_SECONDS", 0.001)
    for _ in range(10):
        received.clear()
        threads = [threading.Thread(target=fetch, args=(model,)) for model in models * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert received.total() == 2 * len(SMALL_FILE)
        assert host.files.stat("/models/tiny/.partial") is None
        host.files.remove_tree("/models/tiny")

"""Weights that are swapped between the gate and the engine's word that they are loaded."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from installs import Service, config, listed
from servers import FAKE_ENGINE, FAST, free_port, settings, wait_for

from local_opus.errors import ProblemFoundError
from local_opus.gate import prove
from local_opus.host import Host
from local_opus.server.engine_client import EngineClient
from local_opus.server.life import Life
from local_opus.server.listening import bind
from local_opus.server.standing import Proven, Standing
from local_opus.weights import manifest as manifests
from local_opus.weights.seen import changed_since
from local_opus.weights.verify import examine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "model.bin").write_bytes(b"proven" * 999)
    (made / "config.json").write_bytes(b"{}")
    listed(made)
    return made


def rewritten(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def replaced(path: Path) -> None:
    shutil.copy2(path, path.with_name("new"))
    path.with_name("new").replace(path)


def in_place_with_its_old_times(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"forged" * 999)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


SWAPS: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "replaced": ("model.bin", replaced, "model.bin: was changed or replaced"),
    "rewritten": ("model.bin", rewritten, "model.bin: was changed or replaced"),
    "its times put back": ("model.bin", in_place_with_its_old_times, "model.bin: was changed"),
    "removed": ("config.json", Path.unlink, "config.json: was removed"),
    "added": ("tokenizer.json", lambda path: path.write_bytes(b"{}"), "tokenizer.json: was added"),
    "a link": ("model.bin", lambda path: (path.unlink(), path.symlink_to("config.json")), "model.bin"),
    "the manifest": ("weights.json", rewritten, "weights.json: was changed"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "swap", "words"), SWAPS.values(), ids=SWAPS.keys())
def test_what_is_no_longer_what_was_seen_is_named(folder, name, swap, words):
    seen = examine(Host(), str(folder), quick=True).seen
    assert changed_since(Host(), str(folder), seen) is None
    time.sleep(0.02)  # the kernel's clock for files ticks every 4 to 10 ms
    swap(folder / name)
    assert words in changed_since(Host(), str(folder), seen)


def test_new_stamps_are_no_swap(folder):
    seen = examine(Host(), str(folder)).seen
    (folder / manifests.STAT_NAME).write_bytes(b"{}")
    assert changed_since(Host(), str(folder), seen) is None


def test_a_folder_that_went_is_told(folder):
    seen = examine(Host(), str(folder)).seen
    shutil.rmtree(folder)
    assert changed_since(Host(), str(folder), seen) == "config.json: was removed"


def test_a_file_swapped_while_the_engine_loads_ends_the_server(folder, caplog):
    (folder.parent / "other").write_bytes(b"forged" * 999)
    seen = examine(Host(), str(folder), quick=True).seen
    shutil.move(folder.parent / "other", folder / "other")
    chosen = settings(model="swaps", model_folder=str(folder))
    engine = EngineClient(
        {"op": "load", "model": "swaps", "folder": str(folder)},  # type: ignore[typeddict-item]
        max_in_flight=9,
        command=FAKE_ENGINE,
        timing=FAST,
        changed=lambda: changed_since(Host(), str(folder), seen),
    )
    with pytest.raises(ProblemFoundError) as caught, bind("127.0.0.1", 0) as listener:
        Life(Proven(chosen), engine, Standing()).run(listener)
    assert caught.value.message.startswith(f"{folder}/model.bin: was changed or replaced")
    assert caught.value.exit_code == 3
    assert (engine.state, engine.ready, engine.pid, engine.restarts) == ("stopped", None, None, 0)


def test_a_file_swapped_before_a_restart_ends_it_too():
    answers = iter([None, "model.bin: was changed"])
    engine = EngineClient(
        {"op": "load", "model": "fake"},  # type: ignore[typeddict-item]
        max_in_flight=9,
        command=FAKE_ENGINE,
        timing=FAST,
        changed=lambda: next(answers),
    )

    async def crash() -> None:
        await engine.start()
        await engine.wait_ready()
        os.kill(engine.pid, signal.SIGKILL)
        await asyncio.wait_for(engine.wait_failed(), 20)
        await engine.stop()

    asyncio.run(crash())
    assert engine.swapped == "model.bin: was changed"
    assert engine.restarts == 1


# --- the program that the service runs, with the real engine ---------------------------------------


@pytest.fixture
def service(model: Path, tmp_path: Path) -> Iterator[Service]:
    port = free_port()
    running = Service(config(tmp_path, model, port), port)
    yield running
    running.process.kill()
    running.process.communicate()


def test_a_real_engine_that_loaded_other_weights_serves_nobody(model, service):
    wait_for(service.engine, 60)
    engine = service.engine()
    assert engine is not None
    os.kill(engine, signal.SIGSTOP)  # it has begun to load
    assert httpx.get(f"{service.url}/ready").status_code == 503
    replaced(model / "openvino_model.bin")
    os.kill(engine, signal.SIGCONT)
    _, said = service.process.communicate(timeout=60)
    assert service.process.returncode == 3
    assert f"{model}/openvino_model.bin: was changed or replaced after it was verified" in said
    with pytest.raises(ProcessLookupError):
        os.kill(engine, 0)


def test_the_gate_reads_what_the_manifest_says_after_it_was_verified(model, tmp_path):
    path = config(tmp_path, model, 8000)
    proven = prove(Host(), str(path))
    found, changed = proven.settings, proven.changed
    assert (found.context_length, changed()) == (8192, None)
    with (model / "openvino_model.xml").open("ab") as stream:
        stream.write(b" ")
    assert "openvino_model.xml" in changed()
    with pytest.raises(ProblemFoundError, match=r"openvino_model\.xml: corrupt"):
        prove(Host(), str(path))

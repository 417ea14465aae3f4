"""Verdicts where a list says what a folder holds: the catalog's pins, the manifest, or both."""

from __future__ import annotations

import json
import os
import pickle
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
from local_opus.weights.digest import Hasher
from local_opus.weights.manifest import LocalOrigin, Manifest, ManifestFile, WheelOrigin
from local_opus.weights.verify import is_proven, verify_folder

SOUND = gguf_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    return made


def host() -> Host:
    return Host("/")


def verdicts(folder: Path, **options: object) -> dict[str, FileVerdict]:
    return {item.path: item for item in verify_folder(host(), str(folder), **options)}  # type: ignore[arg-type]


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

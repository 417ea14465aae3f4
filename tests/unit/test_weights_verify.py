"""The verdict of every kind of file, in folders with a manifest, with pins, and with neither."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import pytest

from builders import (
    IR_BIN,
    LFS_POINTER,
    PLACEHOLDER,
    catalog_file,
    gguf_bytes,
    ir_xml,
    safetensors_bytes,
    wheel_bytes,
)
from local_opus.errors import BadInputError, LocalOpusError
from local_opus.host import Host
from local_opus.report.verify import verdict_document, verdict_line, verdict_table
from local_opus.values import FileVerdict, Trust, Verdict
from local_opus.weights import manifest as manifests
from local_opus.weights.digest import Hasher
from local_opus.weights.manifest import LocalOrigin, Manifest, ManifestFile, WheelOrigin
from local_opus.weights.verify import is_proven, verify_folder, worst

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


# --- a stranger's folder -----------------------------------------------------------------------

ZIP = wheel_bytes({"archive/data.pkl": b"x"})
STRANGER = {
    "the 55 bytes of a synthetic model": ("model_weights.bin", PLACEHOLDER, "placeholder"),
    "a Git LFS pointer": ("openvino_model.bin", LFS_POINTER, "placeholder"),
    "a Git LFS pointer as JSON": ("tokenizer.json", LFS_POINTER, "placeholder"),
    "an HTML page": ("model.gguf", b"<!DOCTYPE html><html><body>404</body></html>", "placeholder"),
    "an HTML page as JSON": ("config.json", b"\n<html>Sign in</html>", "placeholder"),
    "zeros": ("model_weights.bin", bytes(3_000_000), "placeholder"),
    "one byte repeated": ("model.gguf", b"\xaa" * 9000, "placeholder"),
    "nothing": ("model.safetensors", b"", "placeholder"),
    "a few bytes": ("model_weights.bin", bytes(range(1, 200)), "placeholder"),
    "a pickle": ("weights.bin", pickle.dumps({"a": [1] * 2000}), "unsafe"),
    "a pickle of protocol 2": ("weights.bin", pickle.dumps([1] * 2000, protocol=2), "unsafe"),
    "a PyTorch checkpoint": ("pytorch_model.bin", ZIP, "unsafe"),
    "a .pt file": ("model.pt", bytes(range(256)), "unsafe"),
    "Python code": ("configuration_phi3.py", b"import os\n", "unsafe"),
    "a native library": ("libx.bin", b"\x7fELF" + bytes(range(1, 200)), "unsafe"),
    "a GGUF": ("model.gguf", SOUND, "unproven"),
    "a GGUF cut in half": ("model.gguf", SOUND[: len(SOUND) // 2], "truncated"),
    "a GGUF that is none": ("model.gguf", os.urandom(2000) + b"\xff", "corrupt"),
    "a GGUF by another name": ("model.bin", SOUND[:-32], "truncated"),
    "safetensors": ("model.safetensors", safetensors_bytes(), "unproven"),
    "broken safetensors": ("model.safetensors", safetensors_bytes(data=b"1"), "truncated"),
    "raw bytes": ("model_weights.bin", os.urandom(5000) + b"\xff", "unproven"),
    "JSON": ("config.json", b'{"a": 1}', "unproven"),
    "broken JSON": ("config.json", b'{"a": ', "corrupt"),
    "100,000 brackets": ("config.json", b"[" * 100_000, "corrupt"),
    "a read-me": ("README.md", b"# Model\n<html>\n", "unproven"),
}


@pytest.mark.parametrize(("name", "data", "verdict"), STRANGER.values(), ids=STRANGER.keys())
def test_a_strangers_file(folder, name, data, verdict):
    (folder / name).write_bytes(data)
    found = verdicts(folder)
    assert found[name].verdict == verdict
    assert found[name].evidence
    assert not is_proven(list(found.values()))


def test_the_evidence_of_a_placeholder_quotes_it(folder):
    (folder / "model_weights.bin").write_bytes(PLACEHOLDER)
    evidence = verdicts(folder)["model_weights.bin"].evidence
    assert f"{len(PLACEHOLDER)} bytes" in evidence
    assert "Synthetic weights" in evidence


PAIRS = {
    "sound": (ir_xml(), IR_BIN, "unproven", "unproven"),
    "short .bin": (ir_xml(), IR_BIN[:-1], "truncated", "truncated"),
    "long .bin": (ir_xml(), IR_BIN + b"x", "corrupt", "placeholder"),
    "pointer as .bin": (ir_xml(), LFS_POINTER, "corrupt", "placeholder"),
    "text as .bin": (ir_xml(), PLACEHOLDER, "corrupt", "placeholder"),
    "DOCTYPE": (ir_xml(head="<!DOCTYPE a>"), IR_BIN, "unsafe", "placeholder"),
}


@pytest.mark.parametrize(("xml", "raw", "of_xml", "of_bin"), PAIRS.values(), ids=PAIRS.keys())
def test_an_ir_is_judged_as_a_pair(folder, xml, raw, of_xml, of_bin):
    (folder / "openvino_model.xml").write_bytes(xml)
    (folder / "openvino_model.bin").write_bytes(raw)
    found = verdicts(folder)
    assert found["openvino_model.xml"].verdict == of_xml
    assert found["openvino_model.bin"].verdict == of_bin


def test_constants_of_an_ir_may_begin_like_a_pickle(folder):
    (folder / "m.xml").write_bytes(ir_xml())
    (folder / "m.bin").write_bytes(b"\x80\x04\x95" + IR_BIN[3:])
    assert verdicts(folder)["m.bin"].verdict is Verdict.UNPROVEN


@pytest.mark.parametrize("target", ["/etc/passwd", "../secret", "a/../../secret"])
def test_a_link_out_of_the_folder_is_unsafe_and_not_followed(folder, target):
    (folder.parent / "secret").write_bytes(SOUND)
    (folder / "model.gguf").symlink_to(target)
    found = verdicts(folder)["model.gguf"]
    assert found.verdict is Verdict.UNSAFE
    assert target in found.evidence


def test_a_link_inside_the_folder_is_what_it_leads_to(folder):
    (folder / "blobs").mkdir()
    (folder / "blobs" / "x").write_bytes(SOUND)
    (folder / "model.gguf").symlink_to("blobs/x")
    (folder / "dangling").symlink_to("nowhere")
    found = verdicts(folder, known_files=[catalog_file(SOUND)])
    assert found["model.gguf"].verdict is Verdict.REAL
    assert found["dangling"].verdict is Verdict.UNEXPECTED


@pytest.mark.timeout(20)
def test_a_fifo_and_a_device_do_not_hang(folder):
    os.mkfifo(folder / "model.gguf")
    made = verdicts(folder)
    assert made["model.gguf"].verdict is Verdict.UNSAFE


def test_a_name_that_is_no_text_is_printed_escaped(folder):
    os.close(os.open(os.fsencode(folder) + b"/a\xff\n\x1b[31m", os.O_CREAT | os.O_WRONLY))
    (path,) = verdicts(folder)
    assert path.isprintable()
    assert path.isascii()


FAULTS = {
    "permission": (PermissionError(errno.EACCES, "no"), "unproven"),
    "a broken disk": (OSError(errno.EIO, "Input/output error"), "corrupt"),
    "a link since": (OSError(errno.ELOOP, "loop"), "unsafe"),
    "gone since": (FileNotFoundError(errno.ENOENT, "gone"), "missing"),
}


@pytest.mark.parametrize(("fault", "verdict"), FAULTS.values(), ids=FAULTS.keys())
def test_a_file_that_cannot_be_read_is_a_result(folder, monkeypatch, fault, verdict):
    (folder / "a.gguf").write_bytes(SOUND)
    here = host()

    def refuse(path: str, *, follow: bool = True) -> object:
        raise fault

    monkeypatch.setattr(here.files, "open_read", refuse)
    found = verify_folder(here, str(folder / "a.gguf"))
    assert [item.verdict for item in found if item.path == "a.gguf"] == [verdict]


def test_a_file_that_changes_while_it_is_read_is_corrupt(folder):
    (folder / "a.gguf").write_bytes(SOUND)

    def touch(_what: str, _done: int, _total: int) -> None:
        (folder / "a.gguf").write_bytes(SOUND)

    found = verdicts(folder, catalog_files=[catalog_file(SOUND, "a.gguf")], progress=touch)
    assert found["a.gguf"].verdict is Verdict.CORRUPT
    assert "changed" in found["a.gguf"].evidence


def test_progress_ends_at_the_total(folder):
    install(folder, {"a.gguf": SOUND, "b.json": b"{}"})
    seen: list[tuple[str, int, int]] = []
    verdicts(folder, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("verify", len(SOUND) + 2, len(SOUND) + 2)


def test_an_error_of_the_caller_ends_the_run(folder):
    (folder / "a.gguf").write_bytes(SOUND)

    def give_up(_what: str, _done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verdicts(folder, progress=give_up)


def test_a_thousand_files_of_a_stranger(folder):
    for number in range(1000):
        (folder / f"{number:04}.json").write_bytes(b"{}")
    found = verdicts(folder)
    assert len(found) == 1000
    assert worst(found.values()) is Verdict.UNPROVEN


def test_one_file_can_be_verified_alone(folder):
    (folder / "a.gguf").write_bytes(SOUND)
    (folder / "b.gguf").write_bytes(PLACEHOLDER)
    found = verify_folder(host(), str(folder / "a.gguf"), known_files=[catalog_file(SOUND)])
    assert [(item.path, item.verdict) for item in found] == [("a.gguf", Verdict.REAL)]


def test_a_folder_that_is_not_there_is_bad_input(folder):
    with pytest.raises(BadInputError, match="not found"):
        verify_folder(host(), str(folder / "none"))


def test_an_empty_folder_is_not_proven(folder):
    assert verify_folder(host(), str(folder)) == ()
    assert not is_proven(())


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
    evidence = verdicts(folder)["a.raw"].evidence
    assert "1 of 4 segments differ, the first begins at byte 512" in evidence


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

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
from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.values import FileVerdict, Verdict
from local_opus.weights import contents
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


def test_a_file_is_judged_whatever_lies_beside_it(folder, monkeypatch):
    monkeypatch.setattr(contents, "MOST_FILES", 2)
    for name in ("a.gguf", "b.gguf", "c.gguf"):
        (folder / name).write_bytes(SOUND)
    with pytest.raises(BadInputError, match=r"model: holds more than 2 files"):
        verdicts(folder)
    assert {path: item.verdict for path, item in verdicts(folder / "b.gguf").items()} == {
        "b.gguf": "unproven"
    }


def test_a_tree_that_is_made_to_take_hours_is_not_walked(folder):
    deep = [str(number) for number in range(contents.DEEPEST + 10)]
    inside = folder.joinpath(*deep)
    inside.mkdir(parents=True)
    (inside / "model.gguf").write_bytes(SOUND)
    folder.joinpath(*deep[: contents.DEEPEST - 1], "model.gguf").write_bytes(SOUND)
    found = {item.path: item.verdict for item in verdicts(folder).values()}
    assert found == {
        "/".join([*deep[: contents.DEEPEST - 1], "model.gguf"]): "unproven",
        "/".join(deep[: contents.DEEPEST]): "unsafe",
    }


def test_the_evidence_of_a_placeholder_quotes_it(folder):
    (folder / "model_weights.bin").write_bytes(PLACEHOLDER)
    evidence = verdicts(folder)["model_weights.bin"].evidence
    assert f"{len(PLACEHOLDER)} bytes" in evidence
    assert "Synthetic weights" in evidence


PAIRS = {
    "sound": (ir_xml(), IR_BIN, "unproven", "unproven"),
    "short .bin": (ir_xml(), IR_BIN[:-1], "truncated", "truncated"),
    "long .bin": (ir_xml(), IR_BIN + b"x", "corrupt", "corrupt"),
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


def test_a_link_inside_the_folder_is_judged_by_its_own_name(folder):
    (folder / "blobs").mkdir()
    for name, data in (("a", PLACEHOLDER), ("b", SOUND[:-32]), ("c", b"[]")):
        (folder / "blobs" / name).write_bytes(data)
    (folder / "model_weights.bin").symlink_to("blobs/a")
    (folder / "model.gguf").symlink_to("blobs/b")
    (folder / "config.json").symlink_to("blobs/c")
    found = verdicts(folder)
    assert found["model_weights.bin"].verdict is Verdict.PLACEHOLDER
    assert found["model.gguf"].verdict is Verdict.TRUNCATED
    assert found["config.json"].verdict is Verdict.CORRUPT


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
    (folder / "a.gguf").write_bytes(SOUND)
    (folder / "b.json").write_bytes(b"{}")
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

"""A folder compared with a list from elsewhere: an entry of the catalog, a repository at a commit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from builders import IR_BIN, LFS_POINTER, PLACEHOLDER, catalog_file, gguf_bytes, ir_xml
from local_opus.host import Host
from local_opus.values import FileVerdict, Trust, Verdict
from local_opus.weights.against import Pins, Repository
from local_opus.weights.verify import Against, examine

SOUND = gguf_bytes()
NAME = "org/repo@" + "ab" * 20


@dataclass(frozen=True)
class Stated:
    path: str
    size: int
    sha256: str | None
    git_sha1: str | None


def stated(path: str, data: bytes) -> Stated:
    """What a hub says of a file: weights are LFS files there."""
    if path.endswith((".bin", ".gguf", ".safetensors")):
        return Stated(path, len(data), hashlib.sha256(data).hexdigest(), None)
    return Stated(path, len(data), None, hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest())


def lay(folder: Path, files: dict[str, bytes]) -> str:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return str(folder)


def compared(folder: str, against: Against) -> dict[str, FileVerdict]:
    return {item.path: item for item in examine(Host(), folder, against=against).verdicts}


def words(found: dict[str, FileVerdict]) -> dict[str, str]:
    return {path: item.verdict.value for path, item in found.items()}


IR = {
    "openvino_model.xml": ir_xml(),
    "openvino_model.bin": IR_BIN,
    "config.json": b'{"a": 1}',
    "tokenizer_config.json": b"{}",
    "README.md": b"# Model",
    ".gitattributes": b"*.bin filter=lfs",
}


def repository(files: dict[str, bytes]) -> Repository:
    return Repository(NAME, tuple(stated(path, data) for path, data in files.items()))


def test_a_whole_clone_is_real(tmp_path):
    lay(tmp_path, {".git/HEAD": b"ref", ".cache/huggingface/download/x.metadata": b"1"})
    found = compared(lay(tmp_path, IR), repository(IR))
    assert set(words(found).values()) == {"real"}
    assert set(found) == set(IR)
    assert {item.trust for item in found.values()} == {Trust.HUB}
    assert found["config.json"].evidence == f"git_sha1 matches {NAME}"
    assert found["openvino_model.bin"].evidence == f"sha256 matches {NAME}"


DAMAGE = {
    "a config changed by one byte": ("config.json", b'{"a": 2}', "corrupt"),
    "a tokenizer longer by one byte": ("tokenizer_config.json", b"{} ", "corrupt"),
    "weights changed by one bit": ("openvino_model.bin", IR_BIN[:-1] + bytes([IR_BIN[-1] ^ 1]), "corrupt"),
    "weights cut": ("openvino_model.bin", IR_BIN[:-1], "truncated"),
    "a pointer in place of weights": ("openvino_model.bin", LFS_POINTER, "placeholder"),
    "text in place of weights": ("openvino_model.bin", PLACEHOLDER, "placeholder"),
    "a document": ("README.md", b"# model", "corrupt"),
}  # fmt: skip


@pytest.mark.parametrize(("path", "data", "verdict"), DAMAGE.values(), ids=DAMAGE.keys())
def test_what_is_not_as_the_hub_states(tmp_path, path, data, verdict):
    found = compared(lay(tmp_path, {**IR, path: data}), repository(IR))
    assert words(found)[path] == verdict
    assert {other for other, word in words(found).items() if word != "real"} == {path}


def test_the_evidence_names_both_digests(tmp_path):
    found = compared(lay(tmp_path, {**IR, "config.json": b'{"a": 2}'}), repository(IR))
    got, want = (
        stated("config.json", b'{"a": 2}').git_sha1,
        stated("config.json", b'{"a": 1}').git_sha1,
    )
    assert found["config.json"].evidence == f"git_sha1 is {got}, {NAME} says {want}"
    assert found["config.json"].expected == f"git_sha1 {want}"
    assert found["config.json"].found == f"git_sha1 {got}"
    assert found["config.json"].where == NAME


def test_a_file_that_the_repository_does_not_have_is_unexpected(tmp_path):
    found = compared(lay(tmp_path, {**IR, "extra.json": b"{}"}), repository(IR))
    assert found["extra.json"].verdict is Verdict.UNEXPECTED
    assert NAME in found["extra.json"].evidence


def test_an_own_manifest_proves_nothing_and_is_not_in_the_way(tmp_path):
    found = compared(lay(tmp_path, {**IR, "weights.json": b"{}"}), repository(IR))
    assert "weights.json" not in found
    with_one = {**IR, "weights.json": b"{}"}
    assert words(compared(str(tmp_path), repository(with_one)))["weights.json"] == "real"


UNSAFE = {
    "Python code": ("modeling.py", b"import os\n"),
    "a checkpoint": ("model.pt", b"\x80\x02]q\x00." * 99),
}


@pytest.mark.parametrize(("path", "data"), UNSAFE.values(), ids=UNSAFE.keys())
def test_code_stays_unsafe_though_the_hub_has_it(tmp_path, path, data):
    files = {**IR, path: data}
    found = compared(lay(tmp_path, files), repository(files))[path]
    assert found.verdict is Verdict.UNSAFE
    assert f"matches {NAME}" in found.evidence


def split(number: int) -> str:
    return f"q8/big-{number:05}-of-00002.gguf"


REPO = {
    "a.Q4_0.gguf": SOUND,
    "a.Q8_0.gguf": SOUND + b"\0",
    split(1): b"GGUF1",
    split(2): b"GGUF2",
    "model-00001-of-00002.safetensors": b"1",
    "model-00002-of-00002.safetensors": b"2",
    "pytorch_model.bin": b"3",
    "openvino/openvino_model.xml": ir_xml(),
    "openvino/openvino_model.bin": IR_BIN,
    "openvino/openvino_tokenizer.bin": IR_BIN,
    "openvino/config.json": b"1",
    "config.json": b"{}",
    "merges.txt": b"a b",
    "LICENSE": b"mine",
    "USE_POLICY.md": b"be good",
    "images/card.png": b"png",
}
NEEDS: dict[str, tuple[list[str], set[str]]] = {
    "one GGUF needs nothing else": (["a.Q4_0.gguf"], set()),
    "a part of a split GGUF needs the others": ([split(1)], {split(2)}),
    "one of the shards": (
        ["model-00001-of-00002.safetensors"],
        {"model-00002-of-00002.safetensors", "config.json", "merges.txt"},
    ),
    "other weights in the folder": (["pytorch_model.bin"], {"config.json", "merges.txt"}),
    "a graph needs all of an IR": (
        ["openvino/openvino_model.xml"],
        {"openvino/openvino_model.bin", "openvino/openvino_tokenizer.bin", "openvino/config.json"},
    ),
    "configs alone need weights": (
        ["config.json", "merges.txt"],
        set(REPO) - {"config.json", "merges.txt", "LICENSE", "USE_POLICY.md", "images/card.png"},
    ),
    "documents alone": (["LICENSE"], set(REPO) - {"LICENSE", "USE_POLICY.md", "images/card.png"}),
}


@pytest.mark.parametrize(("there", "missing"), NEEDS.values(), ids=NEEDS.keys())
def test_what_is_missing(tmp_path, there: Iterable[str], missing):
    folder = lay(tmp_path, {path: REPO[path] for path in there} | {"README.md": b"x"})
    against = repository({**REPO, "README.md": b"x"})
    found = words(compared(folder, against))
    assert {path for path, word in found.items() if word == "missing"} == missing
    assert set(found) - missing == {*there, "README.md"}


def test_an_empty_folder_lacks_all_but_documents(tmp_path):
    found = words(compared(str(tmp_path), repository(IR)))
    assert set(found) == set(IR) - {"README.md", ".gitattributes"}
    assert set(found.values()) == {"missing"}


def test_a_single_file_may_lie_elsewhere_than_in_the_repository(tmp_path):
    lay(tmp_path, {"big-00001-of-00002.gguf": b"GGUF1", "other": b"x"})
    path = str(tmp_path / "big-00001-of-00002.gguf")
    assert words(compared(path, repository(REPO))) == {"big-00001-of-00002.gguf": "real"}


# --- the catalog -------------------------------------------------------------------------------

PINS = Pins("tiny", (catalog_file(SOUND, "gguf/tiny.gguf"), catalog_file(b"part", "two.gguf")))


@pytest.mark.parametrize("place", ["gguf/tiny.gguf", "tiny.gguf", "else/where/tiny.gguf"])
def test_a_pin_is_found_under_its_path_or_its_name(tmp_path, place):
    found = compared(lay(tmp_path, {place: SOUND, "two.gguf": b"part"}), PINS)
    assert words(found) == {place: "real", "two.gguf": "real"}
    assert found[place].evidence == "sha256 matches the catalog's tiny"


def test_a_pin_that_is_not_there_is_missing(tmp_path):
    assert words(compared(lay(tmp_path, {"tiny.gguf": SOUND}), PINS)) == {
        "tiny.gguf": "real",
        "two.gguf": "missing",
    }


def test_what_the_catalog_does_not_pin_stays_unproven(tmp_path):
    folder = lay(tmp_path, {"tiny.gguf": SOUND, "two.gguf": b"part", "README.md": b"# x"})
    assert words(compared(folder, PINS))["README.md"] == "unproven"


def test_a_file_that_is_not_as_pinned(tmp_path):
    folder = lay(tmp_path, {"tiny.gguf": SOUND[:-1], "two.gguf": b"\xff\0\1\2"})
    found = words(compared(folder, PINS))
    assert found == {"tiny.gguf": "truncated", "two.gguf": "corrupt"}

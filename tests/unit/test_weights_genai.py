"""What OpenVINO GenAI can't load is said before a byte comes, and before the worker is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from builders import LLAMA, TENSORS, gguf_bytes, wheel_model
from local_opus.catalog import load
from local_opus.catalog.fitting import fit
from local_opus.errors import LocalOpusError, MachineCannotError
from local_opus.host import Host
from local_opus.values import (
    CpuFacts,
    Device,
    DiskFacts,
    HostFacts,
    MemoryFacts,
    OpenVinoFacts,
    OsFacts,
)
from local_opus.weights.convert import convert_model
from local_opus.weights.genai import file_type_problem
from local_opus.weights.store import variant_folder, variant_names

TYPES = {
    "Q5_K_M": "Q5_K", "Q5_K_S": "Q5_K", "Q4_K_S": "Q5_K", "Q3_K_L": "Q3_K", "Q2_K": "Q2_K",
    "Q5_0": "Q5_0", "IQ4_XS": "IQ4_XS", "BF16": "BF16", "F32": "F32",
    "Q4_K_M": None, "Q4_0": None, "Q4_1": None, "Q6_K": None, "Q8_0": None, "F16": None,
    "int4": None,
}  # fmt: skip


@pytest.mark.parametrize(("name", "lacks"), TYPES.items())
def test_a_type_of_file_tells_what_can_not_be_read(name, lacks):
    problem = file_type_problem(name)
    assert (problem is None) if lacks is None else f"holds {lacks} tensors" in str(problem)


MACHINE = HostFacts(
    cpu=CpuFacts(
        model="x", vendor="GenuineIntel", architecture="x86_64", sockets=1, physical_cores=8,
        logical_cores=8, usable_cores=8, performance_cores=None, efficiency_cores=None, isa=("avx2",),
    ),
    memory=MemoryFacts(total=1 << 40, available=1 << 40, cgroup_limit=None),
    disk=DiskFacts(path="/store", total=1 << 44, free=1 << 44, free_inodes=9),
    os=OsFacts(
        id="debian", version="12", name="Debian", kernel="6.1", init="init", systemd_running=False,
        container=None, python="3.11",
    ),
    accelerators=(),
    openvino=OpenVinoFacts(version="2026.4.1", devices=(), problem=None),
)  # fmt: skip


def test_a_model_of_such_a_type_fits_no_machine():
    model = next(one for one in load().models if one.quantization == "Q4_K_M")
    assert fit(model, MACHINE, Device.CPU).fits
    found = fit(model.model_copy(update={"quantization": "Q5_K_M"}), MACHINE, Device.CPU)
    assert not found.fits
    assert "Q5_K" in " ".join(found.reasons)


REFUSED = {
    "architecture": (gguf_bytes({**LLAMA, "general.architecture": "phi3"}), "phi3"),
    "tensor type": (gguf_bytes(tensors=[*TENSORS, ("blk.0.up", (32, 2), 30)]), "blk.0.up has the type BF16"),
    "tokenizer": (gguf_bytes({**LLAMA, "tokenizer.ggml.model": "llama"}), "tokenizer"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_gguf_that_can_not_be_read_never_reaches_the_worker(tmp_path, monkeypatch, data, words):
    error = convert(tmp_path, monkeypatch, data)
    assert isinstance(error, MachineCannotError)
    assert words in error.message


BROKEN = {
    "2^40 tensors": (gguf_bytes(claimed=1 << 40), "1099511627776 tensors"),
    "half a file": (gguf_bytes()[: len(gguf_bytes()) // 2], "file has"),
    "another version": (gguf_bytes(version=1), "version 1"),
}


@pytest.mark.parametrize(("data", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_gguf_never_reaches_the_worker(tmp_path, monkeypatch, data, words):
    """Even where the catalog pins it: the library dies of such a file."""
    assert words in convert(tmp_path, monkeypatch, data).message


def convert(root: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> LocalOpusError:
    model = wheel_model(data)
    folder = root / variant_folder("models", model.id, variant_names(model, Device.CPU).source)
    folder.mkdir(parents=True)
    (folder / model.files[0].path).write_bytes(data)
    host = Host(str(root))

    def asked(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(host.processes, "worker", asked)
    before = sorted(root.rglob("*"))
    with pytest.raises(LocalOpusError) as caught:
        convert_model(host, "/models", model, Device.CPU)
    assert sorted(root.rglob("*")) == before
    assert (folder / model.files[0].path).read_bytes() == data
    return caught.value
